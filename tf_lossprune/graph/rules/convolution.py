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


def consumed(ctx, axis, index=0):
    """Labels `[size]` of the input channels; what cannot be cut is frozen."""
    channels = ctx.channels(index, axis)
    if channels is None:
        return np.zeros(ctx.inputs[index].sample_shape[axis], int)
    return channels


def produce(ctx, layer, out, axis, bias="bias"):
    """Declares bias and output of a producing layer, whatever its kernel is.

    Args:
        ctx: `Context`.
        layer: the layer; it may be one inside that of the context.
        out: labels `[size]` of what it makes.
        axis: int, of a sample.
        bias: string, the name of its bias.
    """
    if layer.use_bias:
        ctx.weight(bias, {0: out})
    if mixes_channels(layer.activation):
        ctx.freeze(out, f"activation {activation_name(layer)} mixes channels")
    ctx.output(lb.on_axis(out, axis, len(ctx.call.outputs[0].sample_shape)))


def activation_name(layer):
    """The name of a layer's activation function, for messages."""
    return getattr(layer.activation, "__name__", type(layer.activation).__name__)


@register_rule(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    effect="prunes",
    remark="grouped: every group keeps the same number of channels",
)
def convolution(ctx, layer):
    axis = channel_axis(layer)
    channels = consumed(ctx, axis)
    positions = ctx.output_positions(axis)
    rank, groups = layer.rank, layer.groups
    if 1 < groups == len(channels):
        _depthwise_groups(ctx, layer, channels, positions, axis)
        return
    out = ctx.fresh(layer.filters)
    if groups > 1:
        # One slice of the kernel serves one input of every group.
        per_group = channels.reshape(groups, -1)
        ctx.unite(per_group[:1], per_group)
        ctx.unite(out.reshape(groups, -1)[:1], out.reshape(groups, -1))
        channels = per_group[0]
    ctx.weight("kernel", {rank: channels, rank + 1: out}, positions)
    ctx.gate("kernel", rank)
    ctx.config("filters", out)
    produce(ctx, layer, out, axis)


def _depthwise_groups(ctx, layer, channels, positions, axis):
    """As many groups as channels: a whole group goes with its channel."""
    out = np.repeat(channels, layer.filters // layer.groups)
    ctx.weight("kernel", {layer.rank + 1: out}, positions)
    ctx.config("groups", channels)
    ctx.config("filters", out)
    produce(ctx, layer, out, axis)


@register_rule(
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    effect="prunes",
)
def transposed_convolution(ctx, layer):
    axis = channel_axis(layer)
    channels = consumed(ctx, axis)
    out = ctx.fresh(layer.filters)
    # Each entry of the kernel is used once at each position of the input.
    ctx.weight(
        "kernel",
        {layer.rank: out, layer.rank + 1: channels},
        ctx.input_positions(axis),
    )
    ctx.gate("kernel", layer.rank + 1)
    ctx.config("filters", out)
    produce(ctx, layer, out, axis)


@register_rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(ctx, layer):
    axis = channel_axis(layer)
    channels = consumed(ctx, axis)
    out = np.repeat(channels, layer.depth_multiplier)
    ctx.weight("kernel", {layer.rank: channels}, ctx.output_positions(axis))
    produce(ctx, layer, out, axis)


@register_rule(layers.SeparableConv1D, layers.SeparableConv2D, effect="prunes")
def separable(ctx, layer):
    axis = channel_axis(layer)
    channels = consumed(ctx, axis)
    out = ctx.fresh(layer.filters)
    positions = ctx.output_positions(axis)
    ctx.weight("depthwise_kernel", {layer.rank: channels}, positions)
    middle = np.repeat(channels, layer.depth_multiplier)
    ctx.weight("pointwise_kernel", {layer.rank: middle, layer.rank + 1: out}, positions)
    # No bias between the two kernels, so zeroing the first removes the channel.
    ctx.gate("depthwise_kernel", layer.rank)
    ctx.config("filters", out)
    produce(ctx, layer, out, axis)
