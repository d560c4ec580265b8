"""Spectral normalisation: its inner layer's channels, and the norm of what is left."""

import keras
import numpy as np

from tf_lossprune.graph import gated_calls
from tf_lossprune.graph.record import InnerConfig
from tf_lossprune.graph.rules.convolution import channel_axis, consumed, produce
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)


@register_rule(
    layers.SpectralNormalization,
    effect="prunes",
    remark="around a dense layer or a convolution; by the norm of the kept channels",
)
def spectral_normalization(ctx, layer):
    inner = layer.layer
    if type(inner) is not layers.Dense and type(inner) not in _CONVOLUTIONS:
        ctx.freeze_all("it is around another layer than a dense one or a convolution")
        return
    if getattr(inner, "groups", 1) != 1:
        ctx.freeze_all("it is around a convolution in groups")
        return
    rank = getattr(inner, "rank", 0)
    axis = channel_axis(inner) if rank else -1
    key = "filters" if rank else "units"
    channels, out = consumed(ctx, axis), ctx.fresh(getattr(inner, key))
    axes = {rank: channels, rank + 1: out}
    ctx.weight("layer.kernel", axes, ctx.output_positions(axis))
    ctx.weight("vector_u", {1: out})
    ctx.config("layer", out, lambda kept: InnerConfig({key: int(kept.sum())}))
    # The norm is that of a kernel without what is cut, on both of its sides.
    both = np.concatenate([channels, out])
    ctx.gated_call(gated_calls.spectral_normalization, both)
    produce(ctx, inner, out, axis, bias="layer.bias")
