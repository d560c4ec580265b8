"""Slices: `x[...]`, `keras.ops.take`."""

import numpy as np

from tf_lossprune.graph.rules.registry import register_rule
from tf_lossprune.graph.tracing import Tensor


@register_rule("GetItem", remark="with steps along the channel axis: frozen")
def get_item(ctx, operation):
    """A range of channels starts and ends where the kept ones do."""
    if len(ctx.call.args) != 2 or len(ctx.inputs) != 1:
        ctx.freeze_all("it is indexed with tensors")
        return
    shape = ctx.inputs[0].shape
    key = _full_key(ctx.call.args[1], len(shape))
    if key is None or key[0] != slice(None):
        ctx.freeze_all("an index that is not made of numbers and ranges")
        return
    labels = ctx.input_labels[0]
    index: list = []
    cut, axis = None, 0
    for place, entry in enumerate(key[1:], 1):
        if entry is None:
            index.append(None)
            continue
        if not ctx.varies(axis):
            index.append(0 if isinstance(entry, int) else slice(None))
        elif entry == slice(None):
            index.append(entry)
        else:
            channels = _cut_channels(ctx, axis, entry)
            if channels is None:
                return
            index.append(entry)
            cut = (place, entry, channels)
        axis += 1
    ctx.output(labels[tuple(index)])
    if cut is not None:
        _move_cut(ctx, key, *cut)


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


@register_rule("Take", remark="with constant indices, not along the channel axis")
def take(ctx, operation):
    others = [x for x in ctx.call.args[1:] if isinstance(x, Tensor)]
    axis = None if operation.axis is None else ctx.sample_axis(operation.axis)
    if others or axis is None or ctx.varies(axis):
        ctx.freeze_all("it takes channels by their numbers")
        return
    labels = ctx.input_labels[0]
    dims = len(ctx.call.outputs[0].shape) - len(ctx.inputs[0].shape)
    shape = list(labels.shape)
    shape[axis : axis + 1] = [1] * (1 + dims)
    ctx.output(labels.reshape(shape))
