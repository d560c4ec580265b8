"""Layers that move elements: the labels move the same way."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers


@register_rule(layers.Flatten)
def flatten(ctx, layer):
    labels = ctx.input_labels[0]
    shape = ctx.inputs[0].sample_shape
    full = lb.expand(labels, shape)
    if full is None:
        if (labels == lb.FROZEN).all():
            ctx.output(np.zeros((1,), int))
        else:
            ctx.freeze_all("Flatten of an unknown shape")
        return
    if layer.data_format == "channels_first" and full.ndim > 1:
        full = np.moveaxis(full, 0, -1)
    ctx.output(full.reshape(-1))


@register_rule(layers.Reshape, "Reshape")
def reshape(ctx, layer):
    full = lb.expand(ctx.input_labels[0], ctx.inputs[0].sample_shape)
    target = ctx.call.outputs[0].sample_shape
    if full is None or None in target or ctx.call.outputs[0].shape[0] is not None:
        ctx.freeze_all("Reshape of an unknown shape")
        return
    moved = lb.compact(full.reshape(target))
    # The target shape is a constant of the layer: it can follow the channels
    # only if they end up along one whole axis.
    axes = [i for i, d in enumerate(moved.shape) if d > 1]
    if not axes:
        ctx.output(moved)
        return
    if len(axes) > 1 or not isinstance(layer, keras.layers.Layer):
        ctx.freeze_all("Reshape mixes its channels with other axes")
        return
    axis, asked = axes[0], tuple(layer.target_shape)
    if asked[axis] != -1:
        if -1 in asked:
            ctx.freeze_all("Reshape computes another axis from its channels")
            return
        ctx.config(
            "target_shape",
            moved.reshape(-1),
            lambda kept: asked[:axis] + (int(kept),) + asked[axis + 1 :],
        )
    ctx.output(moved)


@register_rule(layers.Permute)
def permute(ctx, layer):
    ctx.output(np.transpose(ctx.input_labels[0], [d - 1 for d in layer.dims]))


@register_rule(
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
)
def spatial(ctx, layer):
    # The padding is zero in each channel, so it goes with its channel.
    channels_first = getattr(layer, "data_format", None) == "channels_first"
    axis = 0 if channels_first else len(ctx.inputs[0].sample_shape) - 1
    labels = ctx.input_labels[0]
    if any(d != 1 for i, d in enumerate(labels.shape) if i != axis):
        ctx.freeze_all("its channels vary over space")
    else:
        ctx.output(labels)
