"""Attention layers: heads, and the dimensions that all heads have, are channels."""

import math

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph import gated_calls
from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.convolution import consumed
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers

OUTPUT, GATE = internals.OUTPUT_PROJECTION, internals.GATE_PROJECTION
QUERY, KEY, VALUE = internals.PROJECTIONS


@register_rule(
    layers.MultiHeadAttention,
    effect="prunes",
    remark="whole heads, dimensions of keys and of values in all heads, and the "
    "channels of query, key and value",
)
def multi_head_attention(ctx, layer):
    """A head is a slice of all projections; the last one adds the heads up.

    A dimension is a slice in all heads: of queries and keys, or of values and the
    output's projection.
    """
    inputs = _read(ctx, layer)
    if inputs is None:
        return
    heads = ctx.fresh(layer.num_heads)
    keys, values = ctx.fresh(layer.key_dim), ctx.fresh(layer.value_dim)
    if keras.backend.backend() == "jax" and layer.key_dim == layer.value_dim:
        ctx.unite(keys, values)  # JAX's own attention asks for one size of both
    _mind_masks(ctx, heads)
    _mind_biases(ctx, layer, heads, keys, values)
    for name, index in inputs.items():
        dims = keys if name in (QUERY, KEY) else values
        _project(ctx, layer, name, index, heads, dims)
    _close_queries(ctx, layer, keys)
    for key, labels in (("num_heads", heads), ("key_dim", keys), ("value_dim", values)):
        ctx.config(key, labels)
    for labels in (heads, values):
        ctx.constant_without(labels)
    _attend(ctx, heads, keys, values)
    # The second output, if it is asked for.
    scores = [lb.on_axis(heads, 0, 3)] * (len(ctx.call.outputs) - 1)
    axes = {0: heads, 1: values}
    if len(internals.output_projection(layer).kernel.shape) != 3:
        _output(ctx, axes)
        ctx.output(np.full((), lb.FROZEN), *scores)
        return
    out = ctx.fresh(internals.output_projection(layer).kernel.shape[-1])
    _output(ctx, {**axes, 2: out})
    if layer.use_bias:
        ctx.weight(f"{OUTPUT}.bias", {0: out})
    ctx.config("output_shape", out)
    ctx.output(out, *scores)


@register_rule(
    layers.GroupQueryAttention,
    effect="prunes",
    remark="whole heads of keys and values with their queries, dimensions of all "
    "heads, and the channels of query, key and value",
)
def grouped_query_attention(ctx, layer):
    """As `multi_head_attention`; a head of keys and values serves several queries.

    All of them have one number of dimensions, and what comes out is as wide as the
    query that goes in.
    """
    inputs = _read(ctx, layer)
    if inputs is None:
        return
    heads, dims = ctx.fresh(layer.num_key_value_heads), ctx.fresh(layer.head_dim)
    queries = np.repeat(heads, layer.num_query_heads // layer.num_key_value_heads)
    _mind_masks(ctx, heads)
    _mind_biases(ctx, layer, queries, dims)
    for name, index in inputs.items():
        own = heads if name in (KEY, VALUE) else queries
        _project(ctx, layer, name, index, own, dims)
    _close_queries(ctx, layer, dims)
    ctx.config("num_query_heads", queries)
    ctx.config("num_key_value_heads", heads)
    ctx.config("head_dim", dims)
    for labels in (heads, dims):
        ctx.constant_without(labels)
    _attend(ctx, queries, dims, dims)
    out = ctx.fresh(internals.output_projection(layer).kernel.shape[-1])
    for index in (0, 1):  # the layer asks for queries and values of one width
        ctx.unite(out, consumed(ctx, -1, index))
    _output(ctx, {0: queries, 1: dims, 2: out})
    if layer.use_bias:
        ctx.weight(f"{OUTPUT}.bias", {0: out})
    scores = [lb.on_axis(queries, 0, 3)] * (len(ctx.call.outputs) - 1)
    ctx.output(out, *scores)


@register_rule(
    layers.Attention,
    layers.AdditiveAttention,
    effect="cuts",
    remark="channels of queries and keys go together, and those of values pass",
)
def plain_attention(ctx, layer):
    """Without projections: scores add up over the channels of queries and keys."""
    if any(len(t.shape) != 3 for t in ctx.inputs):
        ctx.freeze_all("attention over several axes")
        return
    query, value = (consumed(ctx, -1, index) for index in (0, 1))
    key = consumed(ctx, -1, len(ctx.inputs) - 1)
    ctx.unite(query, key)
    query = np.where(key == lb.FROZEN, lb.FROZEN, query)
    additive = isinstance(layer, layers.AdditiveAttention)
    if additive and layer.scale is not None:
        ctx.weight("scale", {0: query})
    if query.any():
        ctx.gated_call(gated_calls.plain_attention, query.reshape(1, 1, -1))
    read = ctx.positions(ctx.inputs[1], (-1,), batch=False)
    pairs = ctx.input_positions() * read
    if additive or layer.score_mode == "concat":
        ctx.tensors_inside(pairs, query)
    else:
        ctx.products(pairs, query)
        ctx.tensors_inside(2 * pairs, np.zeros(1, int))
    ctx.products(pairs, value)
    scores = [np.zeros((), int)] * (len(ctx.call.outputs) - 1)
    ctx.output(value, *scores)


def _read(ctx, layer):
    """Which input each projection reads: a dict; None if it cannot be told."""
    if any(len(t.shape) != 3 for t in ctx.inputs):
        ctx.freeze_all("attention over several axes")
        return None
    # The call is (query, value, key); without key the value is used.
    found = {QUERY: 0, KEY: len(ctx.inputs) - 1, VALUE: 1}
    return {**found, GATE: 0} if hasattr(layer, GATE) else found


def _mind_masks(ctx, heads):
    if any(len(m.shape) == 4 and m.shape[1] != 1 for m in ctx.masks):
        ctx.freeze(heads, "its mask has an entry for each head")


def _mind_biases(ctx, layer, heads, *dims):
    """Keeps dimensions where one that is left would be added in the wrong place.

    On TensorFlow, Keras takes a bias `[heads, 1]` for one of the steps, if there are as
    many steps as heads.
    """
    steps = [tensor.shape[1] for tensor in ctx.inputs]
    if layer.use_bias and any(s is not None and s <= len(heads) for s in steps):
        for labels in dims:
            ctx.freeze(labels, "there are no more steps than heads, and biases")


def _project(ctx, layer, name, index, heads, dims):
    axes = {0: consumed(ctx, -1, index), 1: heads, 2: dims}
    ctx.weight(f"{name}.kernel", axes, ctx.input_positions(index=index))
    ctx.gate(f"{name}.kernel", 0)
    if layer.use_bias:
        ctx.weight(f"{name}.bias", {0: heads, 1: dims})


def _close_queries(ctx, layer, dims):
    """Closes dimensions in the queries, which are added up over with the keys.

    The layer divides the sums by the root of how many there are. So that it stays what
    it was, the queries are multiplied with what this changes by.
    """

    def factor(kept):
        return math.sqrt(kept.sum() / kept.size)

    for name, axis in (("kernel", 2), ("bias", 1)):
        if name == "kernel" or layer.use_bias:
            ctx.gate(f"{QUERY}.{name}", axis, inside=True)
            ctx.factor(f"{QUERY}.{name}", dims, factor)


def _attend(ctx, heads, keys, values):
    """Scores and weighted sums: two products per pair of positions."""
    read = ctx.positions(ctx.inputs[1], (-1,), batch=False)
    pairs = ctx.input_positions() * read
    ctx.products(pairs, heads, keys)
    ctx.products(pairs, heads, values)
    # Scores before and after the softmax, while the values wait.
    windows = ctx.input_positions() / ctx.positions(ctx.inputs[0], (-1,), batch=False)
    ctx.tensors_inside(2 * pairs + windows * read * len(values), heads)


def _output(ctx, axes):
    """The projection that reads the heads; gated where it reads values."""
    ctx.weight(f"{OUTPUT}.kernel", axes, ctx.input_positions())
    ctx.gate(f"{OUTPUT}.kernel", 0)
    ctx.gate(f"{OUTPUT}.kernel", 1)
