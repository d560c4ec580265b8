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
    """The channels lie along another axis: it mixes positions, for each channel.

    What it makes of them, an MLP's hidden units, goes for itself.
    """
    if mixes_channels(layer.activation):
        ctx.freeze_all(f"activation {activation_name(layer)} may mix channels")
        return
    hidden, out = ctx.hidden_units(), ctx.fresh(layer.units)
    axes, factors = {1: out}, [labels, out]
    if hidden is not None:
        axes[0] = hidden
        factors.append(hidden)
        ctx.gate("kernel", 0)
    ctx.weight("kernel", axes)
    total = ctx.output_positions() * math.prod(layer.kernel.shape)
    ctx.products(total / math.prod(f.size for f in factors), *factors)
    if layer.use_bias:
        ctx.weight("bias", {0: out})
    ctx.config("units", out)
    ctx.output(labels)
    ctx.make_hidden(out)
