"""Pooling: each channel alone, over space."""

import keras
import numpy as np

from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers


def _axis(layer, ctx):
    if layer.data_format == "channels_first":
        return 0
    return len(ctx.inputs[0].sample_shape) - 1


def _varies(ctx, axis):
    labels = ctx.input_labels[0]
    return any(d != 1 for i, d in enumerate(labels.shape) if i != axis)


@register_rule(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
def pooling(ctx, layer):
    if _varies(ctx, _axis(layer, ctx)):
        ctx.freeze_all("its channels vary over space")
    else:
        ctx.output(ctx.input_labels[0])


@register_rule(
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
def global_pooling(ctx, layer):
    axis = _axis(layer, ctx)
    if _varies(ctx, axis):
        ctx.freeze_all("its channels vary over space")
        return
    labels = ctx.input_labels[0]
    if not layer.keepdims:
        drop = tuple(i for i in range(labels.ndim) if i != axis)
        labels = np.squeeze(labels, axis=drop)
    ctx.output(labels)
