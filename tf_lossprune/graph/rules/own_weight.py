"""What opened layers held or drew, which is cut with the channels that it meets."""

import math

import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.own_weight import OwnConstant, OwnWeight
from tf_lossprune.graph.randomness import InTraining, RandomDraw
from tf_lossprune.graph.rules.merging import merge
from tf_lossprune.graph.rules.registry import register_rule
from tf_lossprune.graph.sample_count import ForEachSample

#: Up to so many entries of a weight have labels of their own.
MOST_LABELS = 2**18


@register_rule(OwnWeight, effect="prunes", remark="a weight of an opened layer")
def own_weight(ctx, layer):
    """What it meets says which of its axes has channels.

    Where the first one is for the batch (class tokens, position embeddings), that is
    the last.
    """
    shape, made = layer.shape, ctx.call.outputs[0].shape
    axes = tuple(axis for axis, size in enumerate(shape) if size > 1)
    batched = bool(made) and made[0] == 1
    if axes and (batched or math.prod(shape) > MOST_LABELS):
        axes = axes[-1:]
    if not axes:
        ctx.output(np.zeros((), int), batch_axis=0 if batched else None)
        return
    sizes = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    labels = ctx.fresh(math.prod(sizes)).reshape(sizes)

    def kept_shape(kept):
        counts = (lb.count_along(kept, k) for k in range(kept.ndim))
        return tuple(n if k in axes else shape[k] for k, n in enumerate(counts))

    ctx.weight("weight", {axes: labels.reshape([shape[k] for k in axes])})
    ctx.config("shape", labels, kept_shape)
    missing = (1,) * (len(made) - len(shape))
    ctx.output_with_batch(
        labels.reshape(missing + labels.shape), 0 if batched else None
    )


@register_rule(ForEachSample, remark="a weight of an opened layer, for each sample")
def for_each_sample(ctx, layer):
    ctx.output(ctx.input_labels[0])


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
