"""Operations that reduce axes: channels pass where other axes are reduced."""

import numpy as np

from tf_lossprune.graph.rules.elementwise import axes_of
from tf_lossprune.graph.rules.registry import register_rule


@register_rule(
    "All", "Amax", "Amin", "Any", "Argmax", "Argmin", "CountNonzero", "Logsumexp",
    "Max", "Mean", "Median", "Min", "Nanmax", "Nanmean", "Nanmin", "Nanstd", "Nansum",
    "Nanvar", "Prod", "Ptp", "Std", "Sum", "Var",
    remark="frozen where it reduces the channel axis",
)  # fmt: skip
def reduction(ctx, operation):
    _reduce(ctx, operation.axis, getattr(operation, "keepdims", False))


@register_rule("Moments", remark="frozen where it reduces the channel axis")
def moments(ctx, operation):
    _reduce(ctx, operation.axes, operation.keepdims)


def _reduce(ctx, axis, keepdims):
    if len(ctx.inputs) > 1:
        ctx.freeze_all("an operation with tensors for parameters")
        return
    axes = [ctx.sample_axis(a) for a in axes_of(axis, len(ctx.inputs[0].shape))]
    if None in axes or any(ctx.varies(a) for a in axes):
        ctx.freeze_all("it reduces the channel axis")
        return
    labels = ctx.input_labels[0]
    if not keepdims:
        labels = np.squeeze(labels, axis=tuple(axes))
    ctx.output(*[labels for _ in ctx.call.outputs])
