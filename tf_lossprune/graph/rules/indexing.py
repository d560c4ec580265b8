"""Slices: `x[...]`, `keras.ops.take`."""

import numpy as np
from keras import ops

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.registry import register_rule
from tf_lossprune.graph.rules.shape import shape_follows


@register_rule(
    "GetItem", remark="with steps along the channel axis: frozen", any_layout=True
)
def get_item(ctx, operation):
    """A range of channels starts and ends where the kept ones do."""
    if len(ctx.call.args) != 2 or len(ctx.inputs) != 1:
        ctx.freeze_all("it is indexed with tensors")
        return
    key = _full_key(ctx.call.args[1], len(ctx.inputs[0].shape))
    batch = ctx.batch_axis()
    axis_of = [place for place, entry in enumerate(key or ()) if entry is not None]
    if key is None or (batch is not None and key[axis_of[batch]] != slice(None)):
        ctx.freeze_all("an index that is not made of numbers and ranges")
        return
    if len(lb.varying(ctx.input_labels[0])) > 1:
        _tie_indexed(ctx, [key[place] for place in axis_of])
    labels, index, cut = ctx.labels_with_batch(), list(key), None
    for axis, place in enumerate(axis_of):
        entry = key[place]
        if labels.shape[axis] == 1:
            index[place] = 0 if isinstance(entry, int) else slice(None)
        elif entry != slice(None):
            channels = _cut_channels(ctx, ctx.sample_axis(axis), entry)
            if channels is None:
                return
            cut = (place, entry, channels)
    if batch is not None:
        before = key[: axis_of[batch]]
        batch = len(before) - sum(isinstance(entry, int) for entry in before)
    ctx.output_with_batch(labels[tuple(index)], batch)
    if cut is not None:
        _move_cut(ctx, key, *cut)


@register_rule("Slice", remark="of channels: all of them", any_layout=True)
def slice_of(ctx, operation):
    starts, asked = ctx.call.args[1:] or [()], tuple(operation.shape)
    labels, given = ctx.labels_with_batch(), ctx.inputs[0].shape
    along, numbers = lb.varying(labels), np.asarray(starts[0], dtype=object)
    batch = ctx.batch_axis()
    kept_whole = along if batch is None else [batch, *along]
    if len(ctx.inputs) > 1 or numbers.shape != (len(given),):
        ctx.freeze_all("it takes a part whose place is computed")
        return
    if any(numbers[k] != 0 or asked[k] not in (-1, given[k]) for k in kept_whole):
        ctx.freeze_all("it takes a part of the channels or samples")
        return
    shape_follows(ctx, labels, asked, [k for k in along if asked[k] != -1])
    ctx.output_with_batch(labels, batch)


def _tie_indexed(ctx, entries):
    """Where channels lie along several axes, what is taken out is whole blocks."""
    labels, batch = ctx.input_labels[0], ctx.batch_axis()
    if batch is not None:
        entries = entries[:batch] + entries[batch + 1 :]
    axes = [axis for axis in lb.varying(labels) if entries[axis] != slice(None)]
    if len(axes) == len(lb.varying(labels)):
        axes.remove(lb.main_axis(labels))
    ctx.input_labels[0] = ctx.tie(labels, axes)


def _full_key(key, rank):
    """The key with one entry for each axis (and None for new ones); None: unknown."""
    key = list(key) if isinstance(key, (tuple, list)) else [key]
    if not all(
        entry is None or entry is Ellipsis or isinstance(entry, (int, slice))
        for entry in key
    ) or any(isinstance(entry, bool) for entry in key):
        return None
    used = sum(entry is not None and entry is not Ellipsis for entry in key)
    filling = [slice(None)] * (rank - used)
    if Ellipsis in key:
        place = key.index(Ellipsis)
        return key[:place] + filling + key[place + 1 :]
    return key + filling


def _cut_channels(ctx, axis, entry):
    """The labels along an axis which a number or a range cuts; None: frozen."""
    channels = ctx.channels(axis=axis)
    if channels is None:
        ctx.output(np.zeros((), int))
        return None
    if isinstance(entry, slice):
        if entry.step not in (None, 1):
            ctx.freeze_all("it takes channels in steps")
            return None
        ctx.separate(channels[entry])
    else:
        ctx.freeze(channels[entry], "it is picked out by its number")
    return channels


def _move_cut(ctx, key, place, entry, channels):
    def moved(args, kept):
        new: int | slice
        if isinstance(entry, int):
            new = int(kept[: entry % len(kept)].sum())
        else:
            start, stop, _ = entry.indices(len(kept))
            new = slice(int(kept[:start].sum()), int(kept[:stop].sum()))
        return [args[0], (*key[:place], new, *key[place + 1 :])]

    ctx.arguments(channels, moved)


@register_rule(
    "Take",
    remark="with constant indices; of channels, along one axis",
    any_layout=True,
)
def take(ctx, operation):
    """What is taken along one axis keeps the channels along the others."""
    axis, batch = operation.axis, ctx.batch_axis()
    place = None if axis is None else axis % len(ctx.inputs[0].shape)
    if len(ctx.inputs) > 1 or place is None or place == batch:
        ctx.freeze_all("it takes entries by numbers that are computed, or samples")
        return
    labels = ctx.labels_with_batch()
    if labels.shape[place] > 1:
        if len(lb.varying(labels)) == 1:
            _take_channels(ctx, place)
            return
        labels = ctx.tie(labels, [place])
    dims = len(ctx.call.outputs[0].shape) - len(ctx.inputs[0].shape)
    shape = list(labels.shape)
    shape[place : place + 1] = [1] * (1 + dims)
    if batch is not None and place < batch:
        batch += dims
    ctx.output_with_batch(labels.reshape(shape), batch)


def _take_channels(ctx, place):
    """Channels in another order: the kept ones are taken by their new numbers."""
    labels, args = ctx.labels_with_batch(), ctx.call.args
    indices = np.asarray(ops.convert_to_numpy(args[1])) if len(args) > 1 else None
    if indices is None or indices.ndim != 1 or not indices.size:
        ctx.freeze_all("it takes channels by their numbers, not along one axis")
        return
    channels = labels.reshape(-1)
    indices = indices % len(channels)
    taken = channels[indices]
    ctx.separate(taken)

    def renumbered(args, kept):
        numbers = np.cumsum(kept) - 1
        left = indices[kept[indices]]
        return [args[0], numbers[left].astype("int32"), *args[2:]]

    ctx.arguments(channels, renumbered)
    ctx.output_with_batch(lb.on_axis(taken, place, labels.ndim), ctx.batch_axis())


@register_rule("TakeAlongAxis", remark="not along the channel axis")
def take_along_axis(ctx, operation):
    """What is taken along one axis, all channels at the same places."""
    axis = None if operation.axis is None else ctx.sample_axis(operation.axis)
    if axis is None or len(ctx.inputs) != 2 or ctx.varies(axis):
        ctx.freeze_all("it takes channels or samples by their numbers")
        return
    labels, numbers = ctx.input_labels[0], ctx.inputs[1].sample_shape
    along = lb.varying(labels)
    if any(numbers[k] != 1 for k in along) or ctx.input_labels[1].any():
        ctx.freeze_all("it takes from each channel by numbers of its own")
        return
    ctx.output(labels)
