"""Pooling: each channel alone, over space."""

import keras
import numpy as np

from tf_lossprune.graph.rules.registry import register_rule, stock_layers

layers = keras.layers


def channel_axis_of(ctx, layer):
    """The channel axis of the first input's sample, not negative."""
    if getattr(layer, "data_format", None) == "channels_first":
        return 0
    return len(ctx.inputs[0].sample_shape) - 1


def varies_over_space(ctx, axis):
    """Whether labels vary along another axis than this one; freezes them if so."""
    shape = ctx.input_labels[0].shape
    if all(d == 1 for i, d in enumerate(shape) if i != axis):
        return False
    ctx.freeze_all("its channels vary over space")
    return True


@register_rule(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    *stock_layers(
        "AdaptiveMaxPooling1D",
        "AdaptiveMaxPooling2D",
        "AdaptiveMaxPooling3D",
        "AdaptiveAveragePooling1D",
        "AdaptiveAveragePooling2D",
        "AdaptiveAveragePooling3D",
    ),
    "MaxPool",
    "AveragePool",
    "AdaptiveMaxPool",
    "AdaptiveAveragePool",
)
def pooling(ctx, layer):
    if not varies_over_space(ctx, channel_axis_of(ctx, layer)):
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
    axis = channel_axis_of(ctx, layer)
    if varies_over_space(ctx, axis):
        return
    labels = ctx.input_labels[0]
    if not layer.keepdims:
        drop = tuple(i for i in range(labels.ndim) if i != axis)
        labels = np.squeeze(labels, axis=drop)
    ctx.output(labels)
