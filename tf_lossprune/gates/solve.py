"""Solves the thresholds and steepnesses of all groups at once."""

import numpy as np
from keras import ops

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

    def __init__(self, groups, num_units):
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

    def rows(self, flat):
        """`[num_units + 1]` to padded `[groups, widest]`."""
        return ops.take(flat, self._index)

    def flat(self, rows, first=1.0):
        """Padded `[groups, widest]` to `[num_units + 1]`, `first` at unit 0."""
        values = ops.take(ops.reshape(rows, (-1,)), self._place[1:])
        return ops.concatenate([ops.full((1,), first, values.dtype), values])

    def spread(self, per_group):
        """`[groups]` to `[num_units + 1]`; unit 0 gets group 0's value."""
        return ops.take(per_group, self.group_of)

    def mean(self, rows):
        """The mean over the valid entries of each row, `[groups]`."""
        return ops.sum(rows * self.valid, axis=1) / self.widths


def solve_threshold(family, layout, log_importance, ratios, steepness):
    """Finds `s` with `mean_i cdf(steepness * (x_i - s)) = ratio` in each group.

    The result carries the implicit gradients with respect to ratios,
    log-importances and steepness: it ends in one Newton step whose slope is a
    constant, and the derivative of such a step at the solution is that of the
    implicit function. For ratios this is `dp_i/dalpha = C f'_i / sum_j f'_j`.

    Args:
        family: `Family`.
        layout: `GroupLayout`.
        log_importance: float tensor `[groups, widest]`, padded.
        ratios: float tensor `[groups]`, in (0, 1).
        steepness: float tensor `[groups]`, > 0.

    Returns:
        Keep probabilities `[groups, widest]` (padding holds garbage), and the
        thresholds `[groups]`.
    """
    x = ops.stop_gradient(log_importance)
    target = ops.stop_gradient(ratios)
    steep = ops.stop_gradient(steepness)[:, None]
    big = 1e30
    reach = family.reach / steep[:, 0]
    low = ops.min(ops.where(layout.valid > 0, x, big), axis=1) - reach
    high = ops.max(ops.where(layout.valid > 0, x, -big), axis=1) + reach

    def step(_, state):
        low, high, s = state
        z = steep * (x - s[:, None])
        gap = layout.mean(family.cdf(z)) - target
        slope = layout.mean(family.pdf(z)) * steep[:, 0]
        low = ops.where(gap > 0, s, low)  # the mean falls with s
        high = ops.where(gap > 0, high, s)
        newton = s + gap / ops.maximum(slope, 1e-12)
        inside = ops.logical_and(newton > low, newton < high)
        return low, high, ops.where(inside, newton, 0.5 * (low + high))

    start = (low, high, 0.5 * (low + high))
    s = ops.stop_gradient(ops.fori_loop(0, THRESHOLD_STEPS, step, start)[2])
    z = steepness[:, None] * (log_importance - s[:, None])
    slope = layout.mean(family.pdf(ops.stop_gradient(z))) * steep[:, 0]
    gap = layout.mean(family.cdf(z)) - ratios
    s = s + gap / ops.maximum(ops.stop_gradient(slope), 1e-6)
    return family.cdf(steepness[:, None] * (log_importance - s[:, None])), s


def solve_steepness(family, layout, log_importance, ratios, variance):
    """Finds the steepness that gives each group its wanted `mean_i p_i (1 - p_i)`.

    The variance falls with the steepness from `ratio * (1 - ratio)` to that of the
    one channel which a broken number of channels leaves undecided. The target is
    `variance` on top of the latter: aiming below it would drive the steepness up
    without end, until only that channel told the ratio where to go. A target
    beyond the range gives the nearest end. Not differentiated.

    Args:
        family: `Family`.
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

    def step(_, state):
        low, high = state
        middle = 0.5 * (low + high)
        p, _ = solve_threshold(family, layout, log_importance, ratios, ops.exp(middle))
        too_wide = layout.mean(p * (1.0 - p)) > target
        return ops.where(too_wide, middle, low), ops.where(too_wide, high, middle)

    low, high = ops.fori_loop(
        0, STEEPNESS_STEPS, step, (bounds[0] * ones, bounds[1] * ones)
    )
    return ops.stop_gradient(ops.exp(0.5 * (low + high)))
