"""Layers and operations that move elements: the labels move the same way."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.elementwise import axes_of
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers


@register_rule(layers.Flatten)
def flatten(ctx, layer):
    labels = ctx.input_labels[0]
    shape = ctx.inputs[0].sample_shape
    full = lb.expand(labels, shape)
    if full is None:
        if (labels == lb.FROZEN).all():
            ctx.output(np.zeros((1,), int))
        else:
            ctx.freeze_all("Flatten of an unknown shape")
        return
    if layer.data_format == "channels_first" and full.ndim > 1:
        full = np.moveaxis(full, 0, -1)
    ctx.output(full.reshape(-1))


@register_rule(layers.Reshape, "Reshape", any_layout=True)
def reshape(ctx, layer):
    """Moves the labels, which may vary along several axes afterwards.

    What reads them may tie them along some of these (a head is cut as a whole); where
    nothing does (pixel shuffle, channel shuffle), those at the same place of one axis
    go together, so that what is kept is a block again.
    """
    batch, made = ctx.batch_axis(), ctx.call.outputs[0].shape
    given = ctx.inputs[0].shape
    moved = _reshaped(ctx.labels_with_batch(), given, made, batch)
    if moved is None:
        ctx.freeze_all("it moves channels into the batch or a size that is not known")
        return
    is_layer = isinstance(layer, keras.layers.Layer)
    key, skipped = ("target_shape", 1) if is_layer else ("newshape", 0)
    asked = tuple(getattr(layer, key))
    moving = [k for k in lb.varying(moved) if asked[k - skipped] != -1]

    def shape(kept):
        new = list(asked)
        for axis in moving:
            new[axis - skipped] = lb.count_along(kept, axis)
        return tuple(new)

    if moving:
        ctx.config(key, moved, shape)
    ctx.output_with_batch(moved, batch)


def _reshaped(labels, given, made, batch):
    """Labels of a tensor in another shape; None if they cannot be told.

    Args:
        labels: array with an axis for the batch.
        given, made: the shapes before and after.
        batch: int, where the batch dimension is, into which axes may be folded; None:
            there is none.
    """
    first = 0 if batch is None else batch + 1
    if batch is not None and (given[:batch] != made[:batch] or len(made) < first):
        return None if labels.any() else np.zeros((1,) * len(made), int)
    runs, i, j = _equal_runs(given[first:], made[first:])
    left = labels.shape[first : first + i]
    alone = {*given[:i], *made[:j]} <= {1}
    if any(size > 1 for size in left) or (batch is None and labels.any() and not alone):
        return None
    shape, target = list(labels.shape), list(labels.shape[:first]) + [1] * j
    for (i, k), (j, m) in reversed(runs):
        varies = any(size > 1 for size in shape[first + i : first + k])
        if varies:
            shape[first + i : first + k] = given[first + i : first + k]
        target += made[first + j : first + m] if varies else [1] * (m - j)
    return np.broadcast_to(labels, shape).reshape(target)


def _equal_runs(given, made):
    """Pairs of runs of axes that hold the same elements, from the end.

    Returns:
        List of `((start, stop), (start, stop))`, and how many axes at the front of each
        shape are in none.
    """
    runs = []
    i, j = len(given), len(made)
    while True:
        k, m = i, j
        a = b = 1
        while (k == i or m == j or a != b) and None not in (a, b):
            if (k == i or a < b) and k > 0:
                k -= 1
                a = given[k] and a * given[k]
            elif (m == j or b < a) and m > 0:
                m -= 1
                b = made[m] and b * made[m]
            else:
                return runs, i, j
        if None in (a, b):
            return runs, i, j
        runs.append(((k, i), (m, j)))
        i, j = k, m


@register_rule(layers.Permute, any_layout=True)
def permute(ctx, layer):
    _reorder(ctx, [0, *layer.dims])


@register_rule("Transpose", any_layout=True)
def transpose(ctx, operation):
    rank = len(ctx.inputs[0].shape)
    axes = operation.axes or tuple(range(rank))[::-1]
    _reorder(ctx, [axis % rank for axis in axes])


@register_rule("Swapaxes", any_layout=True)
def swapaxes(ctx, operation):
    order = list(range(len(ctx.inputs[0].shape)))
    a, b = operation.axis1, operation.axis2
    order[a], order[b] = order[b], order[a]
    _reorder(ctx, order)


@register_rule("Moveaxis", any_layout=True)
def moveaxis(ctx, operation):
    rank = len(ctx.inputs[0].shape)
    moved = np.moveaxis(np.empty(range(rank)), operation.source, operation.destination)
    _reorder(ctx, list(moved.shape))


def _reorder(ctx, order):
    batch = ctx.batch_axis()
    labels = np.transpose(ctx.labels_with_batch(), order)
    ctx.output_with_batch(labels, None if batch is None else order.index(batch))


@register_rule("ExpandDims", any_layout=True)
def expand_dims(ctx, operation):
    rank = len(ctx.call.outputs[0].shape)
    new = {axis % rank for axis in axes_of(operation.axis, rank)}
    old = [axis for axis in range(rank) if axis not in new]
    batch = ctx.batch_axis()
    labels = np.expand_dims(ctx.labels_with_batch(), tuple(new))
    ctx.output_with_batch(labels, None if batch is None else old[batch])


@register_rule("Squeeze", any_layout=True)
def squeeze(ctx, operation):
    rank, batch = len(ctx.inputs[0].shape), ctx.batch_axis()
    gone = {axis % rank for axis in axes_of(operation.axis, rank)}
    if operation.axis is None or batch in gone:
        ctx.freeze_all("it may move the batch dimension")
        return
    labels = np.squeeze(ctx.labels_with_batch(), tuple(gone))
    before = sum(axis < (batch or 0) for axis in gone)
    ctx.output_with_batch(labels, None if batch is None else batch - before)


@register_rule("BroadcastTo", any_layout=True)
def broadcast_to(ctx, operation):
    labels, batch = ctx.labels_with_batch(), ctx.batch_axis()
    missing = len(operation.shape) - labels.ndim
    if missing and batch is not None:
        ctx.freeze_all("it moves the batch dimension")
        return
    labels = labels.reshape((1,) * missing + labels.shape)
    shape_follows(ctx, labels, operation.shape, lb.varying(labels))
    ctx.output_with_batch(labels, batch)


def shape_follows(ctx, labels, asked, along):
    """Sets the sizes that an operation asks for to those that are left.

    Args:
        ctx: `Context`.
        labels: int array, the labels that vary along the axes.
        asked: sizes of all axes.
        along: the axes that follow.
    """

    def shape(kept):
        counts = {k: lb.count_along(kept, k) for k in along}
        return tuple(counts.get(k, size) for k, size in enumerate(asked))

    if along:
        ctx.config("shape", labels, shape)


@register_rule(layers.RepeatVector)
def repeat_vector(ctx, layer):
    ctx.output(ctx.input_labels[0][None])


@register_rule("Repeat")
def repeat(ctx, operation):
    axis = None if operation.axis is None else ctx.sample_axis(operation.axis)
    if axis is None or np.ndim(operation.repeats) > 0:
        ctx.freeze_all("it repeats the batch, or by an array")
        return
    labels = ctx.input_labels[0]
    if ctx.varies(axis):
        labels = np.repeat(labels, operation.repeats, axis=axis)
    ctx.output(labels)


@register_rule("Tile")
def tile(ctx, operation):
    rank = len(ctx.inputs[0].shape)
    repeats = np.atleast_1d(operation.repeats).tolist()
    repeats = [1] * (rank - len(repeats)) + repeats
    if len(repeats) > rank or repeats[0] != 1:
        ctx.freeze_all("it repeats the batch")
        return
    labels = ctx.input_labels[0]
    ctx.output(
        np.tile(labels, [r if d > 1 else 1 for r, d in zip(repeats[1:], labels.shape)])
    )


@register_rule("Flip")
def flip(ctx, operation):
    rank = len(ctx.inputs[0].shape)
    axes = [ctx.sample_axis(a) for a in axes_of(operation.axis, rank)]
    if None in axes:
        ctx.freeze_all("it flips the batch")
    else:
        ctx.output(np.flip(ctx.input_labels[0], tuple(axes)))


@register_rule("DepthToSpace")
def depth_to_space(ctx, operation):
    """Pixel shuffle: the channels that become one pixel block go together."""
    channels = _last_channels(ctx, operation)
    if channels is not None:
        blocks = channels.reshape(operation.block_size**2, -1)
        ctx.output(ctx.tie(blocks, [0]).reshape(-1))


@register_rule("SpaceToDepth")
def space_to_depth(ctx, operation):
    channels = _last_channels(ctx, operation)
    if channels is not None:
        ctx.output(np.tile(channels, operation.block_size**2))


def _last_channels(ctx, operation):
    """Labels `[size]` of channels along the last axis; None if they were frozen."""
    if operation.data_format == "channels_first":
        # In which order the channels are taken depends on the backend.
        ctx.freeze_all("channels first")
        return None
    channels = ctx.channels()
    if channels is None:
        ctx.output(np.zeros((), int))
    return channels
