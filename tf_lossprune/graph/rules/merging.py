"""Elementwise merges: the channels that meet must go together."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers

REASON = "it meets a tensor whose channels cannot be removed"


@register_rule(
    layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum,
    layers.Minimum, "Add", "Arctan2", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
    "Divide", "DivideNoNan", "Equal", "FloorDivide", "Fmax", "Fmin", "Fmod", "Greater",
    "GreaterEqual", "Heaviside", "Hypot", "Isclose", "Less", "LessEqual", "Logaddexp",
    "Logaddexp2", "LogicalAnd", "LogicalOr", "LogicalXor", "Maximum", "Minimum", "Mod",
    "Multiply", "Nextafter", "NotEqual", "Power", "Subtract", "TrueDivide", "Where",
    remark="the channels that meet go together",
)  # fmt: skip
def merge(ctx, operation):
    """Unites the labels elementwise, with broadcasting.

    Where one side has size 1 and the other does not, nothing would have to be
    sliced on the small side: a kept element there leaves the other side free,
    but a removable one would be needed by all, so it must stay.
    """
    if _array_operands(ctx.call):
        ctx.freeze_all("it meets a constant array")
        return
    operands = [_padded(ctx, index) for index in range(len(ctx.inputs))]
    if None in operands:
        ctx.freeze_all("its operands differ in rank")
        return
    labels, shape = operands[0]
    for other, other_shape in operands[1:]:
        labels = _pair(ctx, labels, shape, other, other_shape)
        shape = tuple(y if x == 1 else x for x, y in zip(shape, other_shape))
    ctx.output(labels, uniform=_uniform(ctx, labels, operands))


def _padded(ctx, index):
    """The labels and sample shape of an operand, with the axes that it is short of.

    None if it has fewer axes than others and entries for samples or channels.
    """
    tensor, labels = ctx.inputs[index], ctx.input_labels[index]
    missing = max(len(t.shape) for t in ctx.inputs) - len(tensor.shape)
    if not missing:
        return labels, tensor.sample_shape
    if None in tensor.shape or labels.any():
        return None
    shape = ((1,) * missing + tensor.shape)[1:]
    return np.zeros((1,) * len(shape), int), shape


def _uniform(ctx, labels, operands):
    """Whether one operand is the same in all channels, and the others have none."""
    channels = [axis for axis, size in enumerate(labels.shape) if size > 1]
    over = [i for i, (_, shape) in enumerate(operands) if _spans(shape, channels)]
    return len(over) == 1 and ctx.uniform(over[0])


def _spans(shape, axes):
    return any(shape[axis] != 1 for axis in axes)


def _pair(ctx, a, a_shape, b, b_shape):
    a_serves_many = _varies_where_broadcast(a_shape, b, b_shape)
    b_serves_many = _varies_where_broadcast(b_shape, a, a_shape)
    if a_serves_many:
        ctx.freeze(a, REASON)
    if b_serves_many:
        ctx.freeze(b, REASON)
    if a_serves_many and b_serves_many:
        return np.zeros((1,) * a.ndim, int)
    if a_serves_many or b_serves_many:
        return b if a_serves_many else a
    return join(ctx, a, b)


def join(ctx, a, b):
    """Ties two label arrays that meet elementwise; returns what comes out."""
    a, b = np.broadcast_arrays(a, b)
    ctx.freeze(a[b == lb.FROZEN], REASON)
    ctx.freeze(b[a == lb.FROZEN], REASON)
    ctx.unite(a, b)
    return np.where(b == lb.FROZEN, lb.FROZEN, a)


def same_across(ctx, labels, axes):
    """Ties labels along some axes, along which they then no longer vary."""
    for axis in axes:
        first = labels.take([0], axis=axis)
        for index in range(1, labels.shape[axis]):
            first = join(ctx, first, labels.take([index], axis=axis))
        labels = first
    return labels


def _varies_where_broadcast(shape, other_labels, other_shape):
    """Whether one element of `shape` meets several units of the other side."""
    sizes = zip(shape, other_shape, other_labels.shape)
    return any(mine == 1 != theirs and varies != 1 for mine, theirs, varies in sizes)


def _array_operands(call):
    flat = keras.tree.flatten((call.args, call.kwargs))
    return any(getattr(x, "ndim", 0) > 0 or isinstance(x, list) for x in flat)
