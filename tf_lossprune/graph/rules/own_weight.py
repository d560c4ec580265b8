"""Weights of opened layers, which are cut with the channels that they meet."""

import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.own_weight import OwnConstant, OwnWeight
from tf_lossprune.graph.rules.registry import register_rule
from tf_lossprune.graph.sample_count import ForEachSample


@register_rule(OwnWeight, effect="prunes", remark="a weight of an opened layer")
def own_weight(ctx, layer):
    """The last axis is free where what comes out has no entries for samples."""
    shape, made = layer.shape, ctx.call.outputs[0].shape
    if not shape or shape[-1] == 1 or len(made) < 2 or made[0] != 1:
        ctx.output(np.zeros((), int))
        return
    labels = ctx.fresh(shape[-1])
    ctx.weight("weight", {len(shape) - 1: labels})
    ctx.config("shape", labels, lambda kept: (*shape[:-1], int(kept.sum())))
    ctx.output(lb.on_axis(labels, len(made) - 2, len(made) - 1))


@register_rule(ForEachSample, remark="a weight of an opened layer, for each sample")
def for_each_sample(ctx, layer):
    ctx.output(ctx.input_labels[0])


@register_rule(OwnConstant, effect="freezes", remark="numbers of an opened layer")
def own_constant(ctx, layer):
    ctx.output(np.zeros((), int))
