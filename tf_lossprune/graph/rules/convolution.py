"""Convolutions: they consume their input channels and produce new ones."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.elementwise import mixes_channels
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers


def channel_axis(layer):
    """The channel axis of a sample (no batch dimension)."""
    return 0 if layer.data_format == "channels_first" else -1


def produce(ctx, layer, out, axis):
    """Declares bias and output of a producing layer, whatever its kernel is."""
    if layer.use_bias:
        ctx.weight("bias", {0: out})
    if mixes_channels(layer.activation):
        ctx.freeze(out, f"activation {layer.activation.__name__} mixes channels")
    ctx.output(lb.on_axis(out, axis, len(ctx.call.outputs[0].sample_shape)))


@register_rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(ctx, layer):
    axis = channel_axis(layer)
    channels = ctx.channels(axis=axis)
    out = ctx.fresh(layer.filters)
    if channels is None:
        channels = np.zeros(ctx.inputs[0].sample_shape[axis], int)
    rank = layer.rank
    if layer.groups > 1:
        # A kernel slice holds one input of each group, so it cannot be zeroed for
        # one of them alone.
        ctx.freeze(channels, "it feeds a grouped convolution")
        ctx.freeze(out, "a grouped convolution makes it")
    else:
        ctx.gate("kernel", rank)
    ctx.weight(
        "kernel",
        {rank: channels[: len(channels) // layer.groups], rank + 1: out},
        ctx.output_positions(axis),
    )
    ctx.config("filters", out)
    produce(ctx, layer, out, axis)


@register_rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(ctx, layer):
    axis = channel_axis(layer)
    channels = ctx.channels(axis=axis)
    if channels is None:
        ctx.freeze_all("its channels are not laid out along one axis")
        return
    out = np.repeat(channels, layer.depth_multiplier)
    ctx.weight("kernel", {layer.rank: channels}, ctx.output_positions(axis))
    produce(ctx, layer, out, axis)


@register_rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(ctx, layer):
    axis = channel_axis(layer)
    channels = ctx.channels(axis=axis)
    out = ctx.fresh(layer.filters)
    if channels is None:
        channels = np.zeros(ctx.inputs[0].sample_shape[axis], int)
    positions = ctx.output_positions(axis)
    ctx.weight("depthwise_kernel", {layer.rank: channels}, positions)
    middle = np.repeat(channels, layer.depth_multiplier)
    ctx.weight("pointwise_kernel", {layer.rank: middle, layer.rank + 1: out}, positions)
    # No bias between the two kernels, so zeroing the first removes the channel.
    ctx.gate("depthwise_kernel", layer.rank)
    ctx.config("filters", out)
    produce(ctx, layer, out, axis)
