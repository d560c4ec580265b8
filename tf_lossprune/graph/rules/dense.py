"""Dense layers: consume and produce along the last axis."""

import keras
import numpy as np

from tf_lossprune.graph.rules.convolution import produce
from tf_lossprune.graph.rules.registry import register_rule


@register_rule(keras.layers.Dense)
def dense(ctx, layer):
    channels = ctx.channels()
    out = ctx.fresh(layer.units)
    if channels is None:
        channels = np.zeros(ctx.inputs[0].sample_shape[-1], int)
    ctx.weight("kernel", {0: channels, 1: out}, ctx.output_positions())
    ctx.gate("kernel", 0)
    ctx.config("units", out)
    produce(ctx, layer, out, -1)
