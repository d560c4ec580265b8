"""What opened layers held or drew, which is cut with the channels that it meets."""

import math

import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.carried_masks import MaskOf, WithMask
from tf_lossprune.graph.effects import AddedLoss
from tf_lossprune.graph.own_weight import OwnConstant, OwnWeight
from tf_lossprune.graph.randomness import InTraining, RandomDraw
from tf_lossprune.graph.rules.merging import merge
from tf_lossprune.graph.rules.registry import register_rule
from tf_lossprune.graph.sample_count import ForEachSample

#: Up to so many entries of a weight have labels of their own.
MOST_LABELS = 2**18


@register_rule(
    OwnWeight,
    effect="prunes",
    remark="a weight of an opened layer",
    any_layout=True,
)
def own_weight(ctx, layer):
    """What it meets says which of its axes has channels.

    Where the first one is for the batch (class tokens, position embeddings), that is
    the last.
    """
    if "value" in ctx.call.kwargs:
        _changed(ctx, layer)
        return
    made = ctx.call.outputs[0].shape
    batched = bool(made) and made[0] == 1
    labels = _labels(ctx, layer, batched)
    if labels is None:
        ctx.output(np.zeros((), int), batch_axis=0 if batched else None)
        return
    missing = (1,) * (len(made) - len(layer.shape))
    ctx.output_with_batch(
        labels.reshape(missing + labels.shape), 0 if batched else None
    )


def _changed(ctx, layer):
    """What a weight is changed to has the channels that the weight has."""
    labels = _labels(ctx, layer, batched=layer.shape[:1] == (1,))
    index = next(i for i, t in enumerate(ctx.inputs) if t is ctx.call.kwargs["value"])
    given = ctx.labels_with_batch(index)
    if labels is not None:
        along = [k for k, size in enumerate(labels.shape) if size == 1]
        ctx.unite(labels, ctx.tie(given, [k for k in along if given.shape[k] > 1]))
    elif given.any():
        ctx.freeze_input(index, "a weight is changed to it")
    ctx.carry()


def _labels(ctx, layer, batched):
    """Declares a weight; returns its labels with all its axes, None if it has none."""
    shape = layer.shape
    axes = tuple(axis for axis, size in enumerate(shape) if size > 1)
    if axes and (batched or math.prod(shape) > MOST_LABELS):
        axes = axes[-1:]
    if not axes:
        return None
    sizes = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    labels = ctx.fresh(math.prod(sizes)).reshape(sizes)

    def kept_shape(kept):
        counts = (lb.count_along(kept, k) for k in range(kept.ndim))
        return tuple(n if k in axes else shape[k] for k, n in enumerate(counts))

    ctx.weight("weight", {axes: labels.reshape([shape[k] for k in axes])})
    ctx.config("shape", labels, kept_shape)
    return labels


@register_rule(AddedLoss, remark="a loss that an opened layer adds", any_layout=True)
def added_loss(ctx, layer):
    ctx.carry()


@register_rule(WithMask, remark="a mask of an opened layer", any_layout=True)
def with_mask(ctx, layer):
    ctx.carry()


@register_rule(MaskOf, remark="a mask of an opened layer", any_layout=True)
def mask_of(ctx, layer):
    ctx.output(np.zeros((), int))


@register_rule(
    ForEachSample,
    remark="a weight of an opened layer, for each sample",
    any_layout=True,
)
def for_each_sample(ctx, layer):
    labels = ctx.labels_with_batch()
    if ctx.batch_axis() not in (0, None) or labels.shape[:1] > (1,):
        ctx.freeze_all("the batch is not the first axis of its input")
        return
    ctx.output(labels[0])


@register_rule(OwnConstant, effect="freezes", remark="numbers of an opened layer")
def own_constant(ctx, layer):
    made = ctx.call.outputs[0].shape
    ctx.output(np.zeros((), int), batch_axis=0 if made and made[0] == 1 else None)


register_rule(
    InTraining, remark="what an opened layer does in training only", any_layout=True
)(merge)


@register_rule(RandomDraw, effect="prunes", remark="random numbers of an opened layer")
def random_draw(ctx, layer):
    """Numbers for each channel are drawn for those that are left."""
    shape = layer.shape
    if shape is None:
        ctx.output(ctx.input_labels[0])
    elif len(shape) < 2 or shape[0] is not None or shape[-1] == 1:
        ctx.output(np.zeros((), int))
    else:
        labels = ctx.fresh(shape[-1])
        ctx.config("shape", labels, lambda kept: (*shape[:-1], int(kept.sum())))
        ctx.output(lb.on_axis(labels, len(shape) - 2, len(shape) - 1))
