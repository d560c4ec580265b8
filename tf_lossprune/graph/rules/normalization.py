"""Normalisation: with a statistic for each channel, or over the kept ones."""

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph import gated_calls
from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.elementwise import across, axes_of
from tf_lossprune.graph.rules.merging import REASON, join
from tf_lossprune.graph.rules.registry import register_rule

OF_KEPT = "over the kept channels, if it spans their axis"


@register_rule(keras.layers.BatchNormalization)
def batch_normalization(ctx, layer):
    axis = ctx.sample_axis(layer.axis)
    shape = ctx.inputs[0].sample_shape
    channels = lb.along(ctx.input_labels[0], axis, shape[axis])
    if channels is None:
        ctx.freeze_all("its channels are not laid out along its axis")
        channels = np.zeros(shape[axis], int)
    names = ["moving_mean", "moving_variance"]
    names += ["gamma"] if layer.scale else []
    names += ["beta"] if layer.center else []
    for name in names:
        ctx.weight(name, {0: channels})
    if ctx.output_labels is None:
        ctx.output(ctx.input_labels[0])


@register_rule(
    keras.layers.GroupNormalization,
    remark="whole groups, or the same number of channels of each",
)
def group_normalization(ctx, layer):
    axis = ctx.sample_axis(layer.axis)
    size = ctx.inputs[0].sample_shape[axis]
    channels = lb.along(ctx.input_labels[0], axis, size)
    if channels is None:
        ctx.freeze_all("its channels are not laid out along its axis")
        return
    for name in ("gamma", "beta"):
        if getattr(layer, name) is not None:
            ctx.weight(name, {0: channels})

    def groups(kept):
        return int(kept.reshape(layer.groups, -1).any(axis=1).sum())

    ctx.config("groups", channels, groups)
    if layer.groups < size:
        found = channels.reshape(layer.groups, -1)
        ctx.unite_either((found[:1], found), (found[:, :1], found))
        if channels.any():
            ctx.gated_call(gated_calls.group_normalization)
    ctx.output(ctx.input_labels[0])


@register_rule(keras.layers.LayerNormalization, remark=OF_KEPT, any_layout=True)
def layer_normalization(ctx, layer):
    _with_weights(ctx, layer, gated_calls.layer_normalization, ("gamma", "beta"))


@register_rule(keras.layers.RMSNormalization, remark=OF_KEPT, any_layout=True)
def rms_normalization(ctx, layer):
    _with_weights(ctx, layer, gated_calls.rms_normalization, ("scale",))


def _with_weights(ctx, layer, computation, names):
    """A layer with weights for each element along the axes that it mixes."""
    along = _across_one_axis(ctx, layer, computation)
    for place, axis in enumerate(along):
        if ctx.varies(axis):
            for name in names:
                if getattr(layer, name) is not None:
                    ctx.weight(name, {place: ctx.channels(axis=axis)})


def _across_one_axis(ctx, layer, computation):
    """As `across`, with labels that vary along one of its axes at most.

    Returns:
        The axes of a sample that it mixes; none of them, if that is not possible.
    """
    axes = axes_of(layer.axis, len(ctx.inputs[0].shape))
    along = [ctx.sample_axis(axis) for axis in axes]
    labels = ctx.input_labels[0]
    if not {*lb.varying(labels)} <= {*along} and None not in along:
        # Heads, and dimensions that it mixes in each of them: whole heads go.
        ctx.input_labels[0] = ctx.tie(labels, along)
    else:
        ctx.straighten(0)
    return along if across(ctx, axes, computation) else []


@register_rule(keras.layers.UnitNormalization, remark=OF_KEPT, any_layout=True)
def unit_normalization(ctx, layer):
    axes = axes_of(layer.axis, len(ctx.inputs[0].shape))
    across(ctx, axes, gated_calls.unit_normalization)


@register_rule("Normalize", remark=OF_KEPT, any_layout=True)
def normalize(ctx, operation):
    axes = axes_of(operation.axis, len(ctx.inputs[0].shape))
    known = len(axes) == 1 or operation.order == 2
    across(ctx, axes, gated_calls.normalize if known else None)


@register_rule("LayerNorm", "RMSNorm", remark=OF_KEPT, any_layout=True)
def normalizing_operation(ctx, operation):
    """Scale and offset are tensors: weights of a layer that was opened."""
    axes = axes_of(operation.axis, len(ctx.inputs[0].shape))
    weights = range(1, len(ctx.inputs))
    if any(len(axes) > 1 or len(ctx.inputs[i].shape) != 1 for i in weights) or any(
        ctx.batch_axis(i) is not None for i in weights
    ):
        ctx.freeze_all("an operation with tensors for parameters")
        return
    whole = type(operation).__name__ == "LayerNorm"
    computation = gated_calls.layer_norm if whole else gated_calls.rms_norm
    for axis in _across_one_axis(ctx, operation, computation):
        labels = ctx.input_labels[0]
        for index in weights:
            own = lb.on_axis(ctx.input_labels[index], axis, labels.ndim)
            if ctx.varies(axis):
                labels = join(ctx, labels, own)
            else:
                ctx.freeze(own, REASON)
        ctx.output(labels, batch_axis=ctx.batch_axis())


@register_rule(*internals.layers_of_applications("LayerScale"))
def layer_scale(ctx, layer):
    channels = ctx.channels()
    if channels is None:
        ctx.output(np.zeros((), int))
        return
    ctx.weight("gamma", {0: channels})
    ctx.config("projection_dim", channels)
    ctx.output(ctx.input_labels[0])


@register_rule(
    keras.layers.Normalization, remark="frozen along the axes with statistics"
)
def feature_normalization(ctx, layer):
    across(ctx, internals.kept_axes(layer))
