"""Layers and operations that move elements: the labels move the same way."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.elementwise import axes_of
from tf_lossprune.graph.rules.merging import same_across
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


@register_rule(layers.Reshape, "Reshape")
def reshape(ctx, layer):
    """Moves the labels; afterwards they vary along one axis at most.

    Where channels are spread over several axes (pixel shuffle, channel shuffle),
    those at the same place of the longest axis go together, so that what is kept
    is a block again.
    """
    full = lb.expand(ctx.input_labels[0], ctx.inputs[0].sample_shape)
    target = ctx.call.outputs[0].sample_shape
    if _moves_between_samples(ctx):
        ctx.freeze_all("it folds something into the batch, or out of it")
        return
    if (ctx.input_labels[0] == lb.FROZEN).all():
        ctx.output(np.zeros((), int))
        return
    if full is None or None in target or ctx.call.outputs[0].shape[0] is not None:
        ctx.freeze_all("Reshape of an unknown shape")
        return
    moved = lb.compact(full.reshape(target))
    axes = [i for i, d in enumerate(moved.shape) if d > 1]
    if len(axes) > 1:
        main = max(axes, key=lambda i: (moved.shape[i], i))
        moved = same_across(ctx, moved, [i for i in axes if i != main])
        axes = [i for i, d in enumerate(moved.shape) if d > 1]
    if axes:
        is_layer = isinstance(layer, keras.layers.Layer)
        key, skipped = ("target_shape", 0) if is_layer else ("newshape", 1)
        asked = tuple(getattr(layer, key))
        place = axes[0] + skipped
        if asked[place] != -1:
            if -1 in asked[skipped:]:
                # The free entry is known here, and the channels' own is not.
                asked = (*asked[:skipped], *target)

            def shape(kept):
                return (*asked[:place], int(kept.sum()), *asked[place + 1 :])

            ctx.config(key, moved.reshape(-1), shape)
    ctx.output(moved)


def _moves_between_samples(ctx):
    given, made = ctx.inputs[0].sample_shape, ctx.call.outputs[0].sample_shape
    known = None not in given and None not in made
    return known and np.prod(given, dtype=int) != np.prod(made, dtype=int)


@register_rule(layers.Permute)
def permute(ctx, layer):
    ctx.output(np.transpose(ctx.input_labels[0], [d - 1 for d in layer.dims]))


@register_rule("Transpose")
def transpose(ctx, operation):
    rank = len(ctx.inputs[0].shape)
    axes = operation.axes or tuple(range(rank))[::-1]
    _reorder(ctx, [axis % rank for axis in axes])


@register_rule("Swapaxes")
def swapaxes(ctx, operation):
    order = list(range(len(ctx.inputs[0].shape)))
    a, b = operation.axis1, operation.axis2
    order[a], order[b] = order[b], order[a]
    _reorder(ctx, order)


@register_rule("Moveaxis")
def moveaxis(ctx, operation):
    rank = len(ctx.inputs[0].shape)
    moved = np.moveaxis(np.empty(range(rank)), operation.source, operation.destination)
    _reorder(ctx, list(moved.shape))


def _reorder(ctx, order):
    if order[0] != 0:
        ctx.freeze_all("it moves the batch dimension")
    else:
        ctx.output(np.transpose(ctx.input_labels[0], [a - 1 for a in order[1:]]))


@register_rule("ExpandDims")
def expand_dims(ctx, operation):
    rank = len(ctx.call.outputs[0].shape)
    axes = tuple(a % rank - 1 for a in axes_of(operation.axis, rank))
    if -1 in axes:
        ctx.freeze_all("it moves the batch dimension")
    else:
        ctx.output(np.expand_dims(ctx.input_labels[0], axes))


@register_rule("Squeeze")
def squeeze(ctx, operation):
    rank = len(ctx.inputs[0].shape)
    if (
        operation.axis is None
        or ctx.call.outputs[0].shape[:1] != ctx.inputs[0].shape[:1]
    ):
        ctx.freeze_all("it may move the batch dimension")
        return
    axes = tuple(ctx.sample_axis(a) for a in axes_of(operation.axis, rank))
    ctx.output(np.squeeze(ctx.input_labels[0], axes))


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
        ctx.output(same_across(ctx, blocks, [0]).reshape(-1))


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
