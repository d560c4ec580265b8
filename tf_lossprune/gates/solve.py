"""Solves the thresholds and steepnesses of all groups at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tf_lossprune.gates.threshold import SoftThreshold
from tf_lossprune.types import BackendTensor

#: Bracketed Newton steps for the threshold; 24 reach float32 for any input
#: (plain bisection alone gains a factor of two each).
THRESHOLD_STEPS = 24
#: Bisection steps for the steepness, a slowly annealed target.
STEEPNESS_STEPS = 14
STEEPNESS_RANGE = (0.02, 5e4)


class GroupLayout:
    """Moves values between the flat unit vector and padded rows of groups.

    Args:
        groups: list of int arrays, the units of each group. Unit 0 is the one
            that always stays, it is in no group.
        num_units: int.
    """

    def __init__(self, groups: Sequence[np.ndarray], num_units: int) -> None:
        self.num_groups = len(groups)
        self.num_units = num_units
        self.sizes = np.array([len(g) for g in groups])
        widest = max(self.sizes, default=1)
        index = np.zeros((self.num_groups, widest), "int32")
        place = np.zeros(num_units + 1, "int32")
        group_of = np.zeros(num_units + 1, "int32")
        for k, units in enumerate(groups):
            index[k, : len(units)] = units
            place[units] = k * widest + np.arange(len(units))
            group_of[units] = k
        self._index, self._place = index, place
        self.group_of = group_of
        self.valid = (index > 0).astype("float32")
        self.widths = self.valid.sum(axis=1)

    def rows(self, flat: BackendTensor) -> BackendTensor:
        """`[num_units + 1]` to padded `[groups, widest]`."""
        return ops.take(flat, self._index)

    def flat(self, rows: BackendTensor, first: float = 1.0) -> BackendTensor:
        """Padded `[groups, widest]` to `[num_units + 1]`, `first` at unit 0."""
        values = ops.take(ops.reshape(rows, (-1,)), self._place[1:])
        return ops.concatenate([ops.full((1,), first, values.dtype), values])

    def spread(self, per_group: BackendTensor) -> BackendTensor:
        """`[groups]` to `[num_units + 1]`; unit 0 gets group 0's value."""
        return ops.take(per_group, self.group_of)

    def mean(self, rows: BackendTensor) -> BackendTensor:
        """The mean over the valid entries of each row, `[groups]`."""
        return ops.sum(rows * self.valid, axis=1) / self.widths


class Solution(NamedTuple):
    """The soft thresholds of all groups, solved for their keep ratios.

    Attributes:
        probabilities: tensor `[groups, widest]`, keep probabilities; padding holds
            garbage.
        slope: tensor `[groups, widest]`, the threshold's density at each channel; 0
            in the padding.
        position: tensor `[groups]`, where the thresholds lie, in log-importance.
    """

    probabilities: Any
    slope: Any
    position: Any


def solve_threshold(
    threshold: SoftThreshold,
    layout: GroupLayout,
    log_importance: BackendTensor,
    ratios: BackendTensor,
    steepness: BackendTensor,
) -> Solution:
    """Finds `s` with `mean_i cdf(steepness * (x_i - s)) = ratio` in each group.

    How the probabilities follow the ratios says `ratio_derivative`; nothing
    differentiates through the iterations.

    Args:
        threshold: `SoftThreshold`.
        layout: `GroupLayout`.
        log_importance: float tensor `[groups, widest]`, padded.
        ratios: float tensor `[groups]`, in (0, 1).
        steepness: float tensor `[groups]`, > 0.

    Returns:
        `Solution`.
    """
    x, steep = log_importance, steepness[:, None]
    big = 1e30
    reach = threshold.reach / steepness
    low = ops.min(ops.where(layout.valid > 0, x, big), axis=1) - reach
    high = ops.max(ops.where(layout.valid > 0, x, -big), axis=1) + reach

    def step(_: Any, state: tuple) -> tuple:
        low, high, s = state
        z = steep * (x - s[:, None])
        gap = layout.mean(threshold.cdf(z)) - ratios
        slope = layout.mean(threshold.pdf(z)) * steepness
        low = ops.where(gap > 0, s, low)  # the mean falls with s
        high = ops.where(gap > 0, high, s)
        newton = s + gap / ops.maximum(slope, 1e-12)
        inside = ops.logical_and(newton > low, newton < high)
        return low, high, ops.where(inside, newton, 0.5 * (low + high))

    start = (low, high, 0.5 * (low + high))
    s = ops.fori_loop(0, THRESHOLD_STEPS, step, start)[2]
    z = steep * (x - s[:, None])
    return Solution(threshold.cdf(z), threshold.pdf(z) * layout.valid, s)


def ratio_derivative(layout: GroupLayout, slope: BackendTensor) -> BackendTensor:
    """How each keep probability of a solved group follows the group's keep ratio.

    With `p_i = cdf(k (x_i - s))` and `f'_i` the density there, the solution holds
    `mean_j p_j = ratio` for every ratio. Differentiated with respect to it, that is
    `-k mean_j(f'_j) ds/dratio = 1`; and so, for C channels,

        dp_i/dratio = -k f'_i ds/dratio = f'_i / mean_j f'_j = C f'_i / sum_j f'_j.

    Args:
        layout: `GroupLayout`.
        slope: tensor `[groups, widest]`, of a `Solution`.

    Returns:
        Tensor `[groups, widest]`, 0 in the padding.
    """
    return slope / (layout.mean(slope)[:, None] + 1e-12)


def solve_steepness(
    threshold: SoftThreshold,
    layout: GroupLayout,
    log_importance: BackendTensor,
    ratios: BackendTensor,
    variance: BackendTensor,
) -> BackendTensor:
    """Finds the steepness that gives each group its wanted `mean_i p_i (1 - p_i)`.

    The variance falls with the steepness from `ratio * (1 - ratio)` to that of the
    one channel which a fractional number of channels leaves undecided. The target is
    `variance` on top of the latter: aiming below it would drive the steepness up
    without end, until only that channel told the ratio where to go. A target
    beyond the range gives the nearest end.

    Args:
        threshold: `SoftThreshold`.
        layout: `GroupLayout`.
        log_importance: float tensor `[groups, widest]`, padded.
        ratios: float tensor `[groups]`, in (0, 1).
        variance: float scalar tensor.

    Returns:
        Steepness `[groups]`.
    """
    bounds = np.log(np.array(STEEPNESS_RANGE, "float32"))
    ones = ops.ones_like(ratios)
    broken = ratios * layout.widths
    broken = broken - ops.floor(broken)
    target = variance + broken * (1.0 - broken) / layout.widths

    def step(_: Any, state: tuple) -> tuple:
        low, high = state
        middle = 0.5 * (low + high)
        steepness = ops.exp(middle)
        p = solve_threshold(threshold, layout, log_importance, ratios, steepness)[0]
        too_wide = layout.mean(p * (1.0 - p)) > target
        return ops.where(too_wide, middle, low), ops.where(too_wide, high, middle)

    low, high = ops.fori_loop(
        0, STEEPNESS_STEPS, step, (bounds[0] * ones, bounds[1] * ones)
    )
    return ops.exp(0.5 * (low + high))
