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
    whole = type(operation).__name__ in ("All", "Amax", "Amin", "Any", "Max", "Min")
    keepdims = getattr(operation, "keepdims", False)
    _reduce(ctx, operation.axis, keepdims, whole and ctx.uniform())


@register_rule("Moments", remark="frozen where it reduces the channel axis")
def moments(ctx, operation):
    _reduce(ctx, operation.axes, operation.keepdims)


def _reduce(ctx, axis, keepdims, free=False):
    """Passes labels on.

    Args:
        ctx: `Context`.
        axis, keepdims: as in Keras.
        free: bool, whether the result is the same however many channels there are.
    """
    if len(ctx.inputs) > 1:
        ctx.freeze_all("an operation with tensors for parameters")
        return
    axes = [ctx.sample_axis(a) for a in axes_of(axis, len(ctx.inputs[0].shape))]
    labels = ctx.input_labels[0]
    if None not in axes and free and _only_along(labels, axes):
        labels = np.zeros((1,) * labels.ndim, int)
    elif None in axes or any(ctx.varies(a) for a in axes):
        ctx.freeze_all("it reduces the channel axis")
        return
    if not keepdims:
        labels = np.squeeze(labels, axis=tuple(axes))
    ctx.output(*[labels for _ in ctx.call.outputs])


def _only_along(labels, axes):
    """Whether labels vary along some of these axes and along no others."""
    varying = {axis for axis, size in enumerate(labels.shape) if size > 1}
    return bool(varying) and varying <= set(axes)
