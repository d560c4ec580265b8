"""Attention: heads are channels of their own."""

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.convolution import consumed
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers

OUTPUT = internals.OUTPUT_PROJECTION


@register_rule(
    layers.MultiHeadAttention,
    effect="prunes",
    remark="whole heads, and the channels of query, key and value",
)
def multi_head_attention(ctx, layer):
    """A head is a slice of all four projections; the last one adds the heads up."""
    inputs = _read(ctx, layer)
    if inputs is None:
        return
    heads = ctx.fresh(layer.num_heads)
    if any(len(m.shape) == 4 and m.shape[1] != 1 for m in ctx.masks):
        ctx.freeze(heads, "its mask has an entry for each head")
    for name, index in inputs.items():
        _project(ctx, name, index, {1: heads})
        if layer.use_bias:
            ctx.weight(f"{name}.bias", {0: heads})
    ctx.config("num_heads", heads)
    _attend(ctx, heads, layer.key_dim, layer.value_dim)
    # The second output, if it is asked for.
    scores = [lb.on_axis(heads, 0, 3)] * (len(ctx.call.outputs) - 1)
    output = internals.output_projection(layer)
    positions = ctx.input_positions()
    if len(output.kernel.shape) != 3:
        ctx.weight(f"{OUTPUT}.kernel", {0: heads}, positions)
        ctx.gate(f"{OUTPUT}.kernel", 0)
        ctx.output(np.full((), lb.FROZEN), *scores)
        return
    out = ctx.fresh(output.kernel.shape[-1])
    ctx.weight(f"{OUTPUT}.kernel", {0: heads, 2: out}, positions)
    ctx.gate(f"{OUTPUT}.kernel", 0)
    if layer.use_bias:
        ctx.weight(f"{OUTPUT}.bias", {0: out})
    ctx.config("output_shape", out)
    ctx.output(out, *scores)


@register_rule(layers.GroupQueryAttention, effect="cuts")
def grouped_query_attention(ctx, layer):
    inputs = _read(ctx, layer)
    if inputs is None:
        return
    for name, index in inputs.items():
        _project(ctx, name, index, {})
    for index in (0, 1):
        ctx.freeze_input(index, "it puts out as many channels as it reads")
    heads = np.zeros(layer.num_query_heads, int)
    _attend(ctx, heads, layer.head_dim, layer.head_dim)
    ctx.weight(f"{OUTPUT}.kernel", {}, ctx.input_positions())
    ctx.output(*[np.full((), lb.FROZEN) for _ in ctx.call.outputs])


def _read(ctx, layer):
    """Which input each projection reads: a dict; None if it cannot be told."""
    if hasattr(layer, internals.GATE_PROJECTION):
        ctx.freeze_all("attention with gates")
        return None
    if any(len(t.shape) != 3 for t in ctx.inputs):
        ctx.freeze_all("attention over several axes")
        return None
    # The call is (query, value, key); without key the value is used.
    return dict(zip(internals.PROJECTIONS, (0, len(ctx.inputs) - 1, 1)))


def _project(ctx, name, index, axes):
    channels = consumed(ctx, -1, index)
    ctx.weight(
        f"{name}.kernel", {0: channels, **axes}, ctx.input_positions(index=index)
    )
    ctx.gate(f"{name}.kernel", 0)


def _attend(ctx, heads, key_dim, value_dim):
    """Scores and weighted sums: two products per pair of positions."""
    read = ctx.positions(ctx.inputs[1], (-1,), batch=False)
    pairs = ctx.input_positions() * read
    ctx.products(pairs * (key_dim + value_dim), heads)
    # Scores before and after the softmax, while the values wait.
    windows = ctx.input_positions() / ctx.positions(ctx.inputs[0], (-1,), batch=False)
    ctx.tensors_inside(2 * pairs + windows * read * value_dim, heads)
