"""Elementwise merges: the channels that meet must go together."""

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.registry import register_rule
from tf_lossprune.graph.tracing import Tensor

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
    any_layout=True,
)  # fmt: skip
def merge(ctx, operation):
    """Unites the labels elementwise, with broadcasting.

    Where one side has size 1 and the other does not, nothing would have to be
    sliced on the small side: a kept element there leaves the other side free,
    but a removable one would be needed by all, so it must stay.
    """
    is_layer = isinstance(operation, layers.Layer)
    elsewhere = ctx.call if is_layer else ctx.call.kwargs
    if any(np.ndim(x) > 0 for x in _leaves(elsewhere)):
        ctx.freeze_all("it meets a constant array")
        return
    rank = len(ctx.call.outputs[0].shape)
    operands = [_padded(ctx, index, rank) for index in range(len(ctx.inputs))]
    places = {place for _, _, place in operands if place is not None}
    if len(places) > 1 or any(labels is None for labels, _, _ in operands):
        ctx.freeze_all("its operands differ in rank")
        return
    labels, shape, _ = operands[0]
    for other, other_shape, _ in operands[1:]:
        labels = _pair(ctx, labels, shape, other, other_shape)
        shape = tuple(y if x == 1 else x for x, y in zip(shape, other_shape))
    batch_axis = places.pop() if places else None
    arrays = {} if is_layer else _arrays(ctx.call.args)
    if any(_spread(labels, shape, value) for value in arrays.values()):
        ctx.freeze_all("one channel meets a constant array")
        return
    _cut_arrays(ctx, labels, arrays)
    same = all(_same(value, labels) for value in arrays.values())
    uniform = same and _uniform(ctx, labels, operands)
    ctx.output_with_batch(labels, batch_axis, uniform=uniform)


def _padded(ctx, index, rank):
    """Labels and shape of an operand, with the axes that it is short of.

    Returns:
        Labels with an axis for the batch, `None` if they cannot be told; the shape, 1
        for the batch; and where that one is, `None` if there is none.
    """
    tensor, labels = ctx.inputs[index], ctx.labels_with_batch(index)
    shape, batch_axis = list(tensor.shape), tensor.batch_axis
    if batch_axis is not None:
        shape[batch_axis] = 1
    missing = rank - len(shape)
    if missing and batch_axis is not None:
        # A batch that does not meet the others' own.
        if labels.any() or tensor.shape[batch_axis] is None:
            return None, shape, None
        shape, batch_axis = tensor.shape, None
    labels = labels.reshape((1,) * missing + labels.shape)
    return labels, (1,) * missing + tuple(shape), batch_axis


def _leaves(struct):
    return [x for x in tree.flatten(struct) if not isinstance(x, Tensor)]


def _arrays(args):
    """Dict, place of a constant array among the arguments -> the array."""
    found = {i: x for i, x in enumerate(args) if x is not None and _leaves([x])}
    found = {i: ops.convert_to_numpy(x) for i, x in found.items()}
    return {i: x for i, x in found.items() if x.ndim > 0}


def _entries(array, rank):
    """The shape of an array with the axes that it is short of."""
    return (1,) * (rank - array.ndim) + array.shape


def _spread(labels, shape, array):
    """Whether an array has several entries where a tensor with channels has one."""
    sizes = zip(shape, _entries(array, labels.ndim))
    return labels.any() and any(mine == 1 != theirs for mine, theirs in sizes)


def _same(array, labels):
    """Whether an array holds the same values in all channels that can be cut."""
    full = array.reshape(_entries(array, labels.ndim))
    return all((full == full.take([0], axis)).all() for axis in lb.varying(labels))


def _cut_arrays(ctx, labels, arrays):
    """Lets constant arrays be cut as what they meet."""
    axes = lb.varying(labels)

    def entries(array):
        return _entries(array, labels.ndim)

    arrays = {
        i: array
        for i, array in arrays.items()
        if any(entries(array)[k] > 1 for k in axes)
    }
    if not arrays:
        return

    def cut(args, kept):
        for i, array in arrays.items():
            full = array.reshape(entries(array))
            for axis in axes:
                others = tuple(k for k in range(kept.ndim) if k != axis)
                if full.shape[axis] > 1:
                    full = full.compress(kept.any(axis=others), axis=axis)
            args[i] = full
        return args

    ctx.arguments(labels, cut)


def _uniform(ctx, labels, operands):
    """Whether one operand is the same in all channels, and the others have none."""
    channels = lb.varying(labels)
    over = [i for i, (_, shape, _) in enumerate(operands) if _spans(shape, channels)]
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


def _varies_where_broadcast(shape, other_labels, other_shape):
    """Whether one element of `shape` meets several units of the other side."""
    sizes = zip(shape, other_shape, other_labels.shape)
    return any(mine == 1 != theirs and varies != 1 for mine, theirs, varies in sizes)
