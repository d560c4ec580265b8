"""Padding, cropping and resizing: what happens to space, in each channel alone."""

import math

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.pooling import channel_axis_of, varies_over_space
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers


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
    layers.Resizing,
    layers.CenterCrop,
    "Resize",
    "CropImages",
    "PadImages",
)
def spatial(ctx, layer):
    # What is padded in, or interpolated, comes from the channel itself.
    if len(ctx.inputs) > 1:
        ctx.freeze_all("an operation with tensors for parameters")
    elif not varies_over_space(ctx, channel_axis_of(ctx, layer)):
        ctx.output(ctx.input_labels[0])


@register_rule("Pad")
def pad(ctx, operation):
    """Channels that are padded in are constant; they stay."""
    if len(ctx.inputs) > 1:
        ctx.freeze_all("an operation with tensors for parameters")
        return
    labels = ctx.input_labels[0]
    widths = list(operation.pad_width)
    if len(widths) == 1:
        widths = widths * len(ctx.inputs[0].shape)
    if any(widths[0]):
        ctx.freeze_all("it pads the batch")
        return
    for axis, (before, after) in enumerate(widths[1:]):
        if before + after == 0 or not ctx.varies(axis):
            continue
        channels = ctx.channels(axis=axis)
        if channels is None or operation.mode != "constant":
            ctx.freeze_all("it pads along the channel axis with channels")
            return
        channels = np.pad(channels, (before, after), constant_values=lb.FROZEN)
        labels = lb.on_axis(channels, axis, labels.ndim)
    ctx.output(labels)


@register_rule("ExtractPatches", effect="cuts")
def extract_patches(ctx, operation):
    """Each patch has the channels of all its pixels, one pixel behind the other.

    Keras computes it as a convolution whose kernel picks them out.
    """
    if operation.data_format == "channels_first":
        ctx.freeze_all("channels first")
        return
    channels = ctx.channels()
    if channels is None:
        ctx.output(np.zeros((), int))
        return
    pixels = math.prod(operation.size)
    made = np.tile(channels, pixels)
    positions = ctx.positions(ctx.call.outputs[0], (-1,))
    ctx.products(positions * pixels, channels, made)
    ctx.output(lb.on_axis(made, -1, len(ctx.call.outputs[0].sample_shape)))
