"""Normalisation with one statistic per channel."""

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.elementwise import across, axes_of
from tf_lossprune.graph.rules.registry import register_rule


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
    remark="instance normalisation; frozen where a statistic spans channels",
)
def group_normalization(ctx, layer):
    axis = ctx.sample_axis(layer.axis)
    size = ctx.inputs[0].sample_shape[axis]
    channels = lb.along(ctx.input_labels[0], axis, size)
    if channels is None or layer.groups != size:
        ctx.freeze_all("one statistic spans several channels")
        return
    for name in ("gamma", "beta"):
        if getattr(layer, name, None) is not None:
            ctx.weight(name, {0: channels})
    ctx.config("groups", channels)
    ctx.output(ctx.input_labels[0])


@register_rule(
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
    remark="frozen along the channel axis",
)
def across_channels(ctx, layer):
    across(ctx, axes_of(layer.axis, len(ctx.inputs[0].shape)))


@register_rule(
    keras.layers.Normalization, remark="frozen along the axes with statistics"
)
def feature_normalization(ctx, layer):
    across(ctx, internals.kept_axes(layer))
