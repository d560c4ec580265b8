"""Operations that reduce axes: channels pass where other axes are reduced."""

import numpy as np

from tf_lossprune.graph import gated_calls
from tf_lossprune.graph.rules.elementwise import axes_of, mixes
from tf_lossprune.graph.rules.registry import register_rule

#: What is computed of the kept channels.
_OF_KEPT = {
    "Amax": gated_calls.largest,
    "Amin": gated_calls.smallest,
    "Logsumexp": gated_calls.log_sum_exp,
    "Max": gated_calls.largest,
    "Mean": gated_calls.reduced_mean,
    "Min": gated_calls.smallest,
    "Std": gated_calls.reduced_deviation,
    "Sum": gated_calls.reduced_sum,
    "Var": gated_calls.reduced_variance,
}


@register_rule(
    *_OF_KEPT,
    remark="of the kept channels, if it reduces their axis",
    any_layout=True,
)
def reduction(ctx, operation):
    name = type(operation).__name__
    free = name in ("Amax", "Amin", "Max", "Min") and ctx.uniform()
    computation = _OF_KEPT[name]
    if getattr(operation, "initial", None) is not None:
        computation = None
    _reduce(ctx, operation.axis, operation.keepdims, computation, free)


@register_rule(
    "All", "Any", "Argmax", "Argmin", "CountNonzero", "Median", "Nanmax", "Nanmean",
    "Nanmin", "Nanstd", "Nansum", "Nanvar", "Prod", "Ptp",
    remark="frozen where it reduces the channel axis",
)  # fmt: skip
def whole_reduction(ctx, operation):
    free = type(operation).__name__ in ("All", "Any") and ctx.uniform()
    keepdims = getattr(operation, "keepdims", False)
    _reduce(ctx, operation.axis, keepdims, free=free)


@register_rule(
    "Moments",
    remark="of the kept channels, if it reduces their axis",
    any_layout=True,
)
def moments(ctx, operation):
    _reduce(ctx, operation.axes, operation.keepdims, gated_calls.moments)


@register_rule("Norm", remark="of vectors, of order 1 or 2: of the kept channels")
def norm(ctx, operation):
    axes = axes_of(operation.axis, len(ctx.inputs[0].shape))
    orders = (None, 1, 2) if len(axes) == 1 else (None, "fro")
    known = operation.ord in orders and (operation.axis is not None or len(axes) == 1)
    computation = gated_calls.norm if known else None
    _reduce(ctx, operation.axis, operation.keepdims, computation)


def _reduce(ctx, axis, keepdims, computation=None, free=False):
    """Passes labels on.

    Args:
        ctx: `Context`.
        axis, keepdims: as in Keras.
        computation: what is computed of the kept channels, as in `across`.
        free: bool, whether the result is the same however many channels there are.
    """
    if len(ctx.inputs) > 1:
        ctx.freeze_all("an operation with tensors for parameters")
        return
    rank, batch = len(ctx.inputs[0].shape), ctx.batch_axis()
    ctx.straighten(0)
    axes = sorted({a % rank for a in axes_of(axis, rank)})
    labels = ctx.labels_with_batch()
    mixed = any(labels.shape[a] > 1 for a in axes)
    if mixed and not free and not mixes(ctx, axes, computation):
        return
    if mixed:
        labels = np.zeros((1,) * labels.ndim, int)
    if batch in axes:
        batch = None  # of one sample or of many, it is the same for all
    if not keepdims:
        labels = np.squeeze(labels, axis=tuple(axes))
        batch = batch and batch - sum(a < batch for a in axes)
    if batch is not None:
        labels = np.squeeze(labels, batch)
    ctx.output(*[labels for _ in ctx.call.outputs], batch_axis=batch)
