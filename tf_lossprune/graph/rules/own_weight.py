"""Weights of opened layers, which are cut with the channels that they meet."""

import math

import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.own_weight import OwnConstant, OwnWeight
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
