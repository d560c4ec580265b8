"""Operations that put tensors side by side or take them apart."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.merging import join
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers


@register_rule(layers.Concatenate, "Concatenate")
def concatenate(ctx, operation):
    _concatenate(ctx, operation.axis)


@register_rule("Append")
def append(ctx, operation):
    if operation.axis is None:
        ctx.freeze_all("it flattens the batch")
    else:
        _concatenate(ctx, operation.axis)


@register_rule("Hstack")
def hstack(ctx, operation):
    _concatenate(ctx, 1)


@register_rule("Dstack")
def dstack(ctx, operation):
    if len(ctx.inputs[0].shape) < 3:
        ctx.freeze_all("it makes a new axis")
    else:
        _concatenate(ctx, 2)


def _concatenate(ctx, batch_axis):
    axis = ctx.sample_axis(batch_axis)
    if axis is None:
        ctx.freeze_all("it concatenates along the batch dimension")
        return
    if any(len(t.shape) != len(ctx.inputs[0].shape) for t in ctx.inputs):
        ctx.freeze_all("its operands differ in rank")
        return
    widest = np.broadcast_shapes(
        *[_without(labels.shape, axis) for labels in ctx.input_labels]
    )
    parts = []
    for labels, tensor in zip(ctx.input_labels, ctx.inputs):
        size = tensor.sample_shape[axis]
        if size is None:
            if labels.shape[axis] != 1:
                ctx.freeze_all("it concatenates along an axis of unknown size")
                return
            size = 1
        shape = list(widest)
        shape[axis] = size
        parts.append(np.broadcast_to(labels, shape))
    joined = np.concatenate(parts, axis=axis)
    size = ctx.call.outputs[0].sample_shape[axis]
    if size is None or any(d != 1 for d in widest):
        # Channels lie across the seam: they must be the same ones on both sides.
        joined = ctx.tie(joined, [axis])
    ctx.output(joined, uniform=all(map(ctx.uniform, range(len(ctx.inputs)))))


def _without(shape, axis):
    shape = list(shape)
    shape[axis] = 1
    return tuple(shape)


@register_rule("Stack", any_layout=True)
def stack(ctx, operation):
    batch = ctx.batch_axis()
    if any(t.batch_axis != batch for t in ctx.inputs):
        ctx.freeze_all("the batch is not the same axis of all its operands")
        return
    axis = operation.axis % len(ctx.call.outputs[0].shape)
    labels = ctx.labels_with_batch()
    for index in range(1, len(ctx.inputs)):
        labels = join(ctx, labels, ctx.labels_with_batch(index))
    moves = batch is not None and axis <= batch
    ctx.output_with_batch(np.expand_dims(labels, axis), batch + 1 if moves else batch)


@register_rule("Unstack", remark="frozen along the channel axis", any_layout=True)
def unstack(ctx, operation):
    place = operation.axis % len(ctx.inputs[0].shape)
    axis, batch = ctx.sample_axis(place), ctx.batch_axis()
    labels = None if axis is None else _same_along(ctx, axis)
    if labels is None:
        ctx.freeze_all("it takes channels apart one by one")
        return
    labels = np.squeeze(labels, axis)
    moves = batch is not None and place < batch
    outputs = [labels for _ in ctx.call.outputs]
    ctx.output(*outputs, batch_axis=batch - 1 if moves else batch)


def _same_along(ctx, axis):
    """Labels of the input that do not vary along an axis; None if only along this one.

    Where they vary along others too, they are tied along it: what is taken apart is
    made of blocks of one shape.
    """
    labels = ctx.input_labels[0]
    if ctx.varies(axis):
        if len(lb.varying(labels)) == 1:
            return None
        labels = ctx.tie(labels, [axis])
    return labels


@register_rule("Split", "ArraySplit", "Hsplit", "Dsplit", any_layout=True)
def split(ctx, operation):
    """Each part keeps at least one channel; where it is cut moves with them."""
    named = {"Hsplit": 1, "Dsplit": 2}
    axis = named.get(type(operation).__name__, getattr(operation, "axis", 0))
    axis = ctx.sample_axis(axis)
    labels = None if axis is None else _same_along(ctx, axis)
    if labels is not None:
        ctx.output(*[labels for _ in ctx.call.outputs], batch_axis=ctx.batch_axis())
        return
    channels = None if axis is None else ctx.channels(axis=axis)
    if channels is None or type(operation).__name__ in named:
        ctx.freeze_all("it splits the batch, or channels that vary over space")
        return
    sizes = [t.sample_shape[axis] for t in ctx.call.outputs]
    ends = np.cumsum(sizes)[:-1]
    parts = np.split(channels, ends)
    for part in parts:
        ctx.separate(part)

    def cuts(kept):
        return [int(kept[:end].sum()) for end in ends]

    ctx.config("indices_or_sections", channels, cuts)
    ndim = len(ctx.inputs[0].sample_shape)
    parts = [lb.on_axis(part, axis, ndim) for part in parts]
    ctx.output(*parts, batch_axis=ctx.batch_axis())
