"""Dense layers: consume and produce along one axis."""

import math

import keras

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.convolution import activation_name, consumed, produce
from tf_lossprune.graph.rules.elementwise import mixes_channels
from tf_lossprune.graph.rules.registry import register_rule


@register_rule(keras.layers.Dense, effect="prunes")
def dense(ctx, layer):
    labels = ctx.input_labels[0]
    if labels.shape[-1] == 1 and lb.varying(labels):
        _dense_elsewhere(ctx, layer, labels)
        return
    channels = consumed(ctx, -1)
    out = ctx.fresh(layer.units)
    ctx.weight("kernel", {0: channels, 1: out}, ctx.output_positions())
    ctx.gate("kernel", 0)
    ctx.config("units", out)
    produce(ctx, layer, out, -1)


def _dense_elsewhere(ctx, layer, labels):
    """The channels lie along another axis: it mixes positions, for each channel."""
    if mixes_channels(layer.activation):
        ctx.freeze_all(f"activation {activation_name(layer)} may mix channels")
        return
    ctx.weight("kernel", {})
    total = ctx.output_positions() * math.prod(layer.kernel.shape)
    ctx.products(total / labels.size, labels)
    ctx.output(labels)
