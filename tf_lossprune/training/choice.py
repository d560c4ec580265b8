"""Which units stay, so that the budgets hold on the network that is delivered."""

import math

import numpy as np

from tf_lossprune.advice import check_used
from tf_lossprune.allocation import choose_units, fit_widths
from tf_lossprune.errors import InfeasibleBudgetError
from tf_lossprune.surgery import cut

#: Cuts after which a measured budget is given up, and how much more each takes.
MAX_RECUTS = 8
RECUT_MARGIN = 1.01
#: How often the last network is measured once more before a budget is given up: of very
#: small ones, other work on the machine can move the time by more than any cut.
RETRIES = 3
#: A network that uses less than the first share of a measured budget is too small, and
#: up to so many larger ones are tried. They have to stay below the second share: of
#: several measurements close to the limit, one that is too good may be chosen.
ENOUGH, CLOSE = 0.9, 0.97
MAX_REGROWTHS = 3
#: Each takes a conversion: after so many, only a network that uses less than this share
#: of the budget is worth another.
FEW_TRIES, WASTED = 2, 0.85


class WidthChoice:
    """Turns ratios into whole widths, and widths into the units that stay.

    Args:
        problem: `PruningProblem` with a budget.

    Attributes:
        recuts: int, how often the last choice had to cut more after a measurement.
        measured: dict, measured resource -> share of its budget that the units which
            were chosen last take.
    """

    def __init__(self, problem):
        self._problem = problem
        self._channels, self._costs = problem.channel_graph, problem.costs
        self.recuts = self._tried = 0
        self.measured = {}
        self._compact = None

    def widths(self, ratios, shares):
        """Whole widths `[groups]` which keep all budgets and use them.

        Args:
            ratios: float `[groups]`.
            shares: dict, resource -> share of the dense cost that is allowed.
        """
        problem = self._problem
        steps, finest = problem.steps, problem.finest
        return self._fitted(ratios, shares, steps, problem.smallest, finest)

    def between(self, ratios, shares, parts):
        """List of ratios `[groups]` of whole widths between uniform and given ones.

        Args:
            ratios: float `[groups]`.
            shares: dict, resource -> share of the dense cost that is allowed.
            parts: floats in [0, 1], how much of the way to the ratios' own widths, in
                logarithms.
        """
        uniform = self.widths(np.ones(len(ratios)), shares)
        given = self.widths(ratios, shares)
        sizes = self._problem.sizes
        found = [given**part * uniform ** (1.0 - part) for part in parts]
        return [self.widths(widths / sizes, shares) / sizes for widths in found]

    def _fitted(self, ratios, shares, steps, smallest, finest=None):
        return fit_widths(
            ratios,
            self._costs,
            shares,
            steps,
            smallest,
            self._problem.blocks,
            self._problem.bottlenecks,
            self._problem.largest,
            finest,
        )

    def units(self, importance, ratios, budget):
        """The units that stay, as many as the budget allows the measured network.

        Counted resources are exact. If the network, measured, is too expensive, more is
        cut; if it uses little of what it may, less is.

        Args:
            importance: float `[num_units + 1]`.
            ratios: float `[groups]`.
            budget: `Budget`, bound to the model.

        Returns:
            bool `[num_units + 1]`.

        Raises:
            InfeasibleBudgetError: if a measured budget cannot be met.
        """
        keep, measured = self._within(importance, ratios, budget)
        self.measured, self._compact = measured, None
        widths = np.array([keep[g.units].sum() for g in self._channels.groups])
        check_used(
            {**self._counted(widths, budget), **measured},
            self._problem.steps,
            lambda: self._counted(self._finest(ratios, budget), budget),
        )
        return keep

    def _within(self, importance, ratios, budget):
        """The units that stay, and dict, measured resource -> share of its budget."""
        problem = self._problem

        def chosen(shares, least=problem.smallest):
            steps, finest = problem.steps, problem.finest
            widths = self._fitted(ratios, shares, steps, least, finest)
            return widths, choose_units(importance, self._channels.groups, widths)

        measured = [n for n in budget.limits if budget.resource(n).measured]
        shares = budget.shares(self._costs)
        self.recuts = self._tried = 0
        smallest = problem.smallest
        (widths, keep), broken = chosen(shares), None
        too_much = dict.fromkeys(measured, math.inf)
        if not measured:
            return keep, {}
        while max((used := self._used(keep, budget, measured)).values()) > 1.0:
            if self.recuts == MAX_RECUTS or (widths <= smallest).all():
                used = self._least_used(used, budget)
                if max(used.values()) <= 1.0:
                    break
                least = {
                    n: f"{u * budget.allowed(n, self._costs[n]):.6g}"
                    for n, u in used.items()
                }
                raise InfeasibleBudgetError(
                    "The network breaks its budget when measured, and cutting more "
                    f"channels does not help: the smallest one takes {least}. Raise "
                    "the budget, lower `min_channels` or `channel_multiple`, or "
                    f"exclude fewer layers. Received: {budget.limits}"
                )
            self.recuts += 1
            broken, too_much = shares, self._counted(widths, budget)
            if self.recuts == MAX_RECUTS:  # what is counted leads nowhere
                used = dict.fromkeys(measured, math.inf)
            shares = self._tighter(
                shares, used, too_much, self._counted(problem.sizes, budget)
            )
            widths, keep = chosen(shares)
        for _ in range(MAX_REGROWTHS):
            enough = ENOUGH if self._tried < FEW_TRIES else WASTED
            if max(used.values()) >= enough:
                break
            larger = self._looser(shares, used, broken)
            # No group gets less than it has, so that every figure can only grow.
            wider, candidate = chosen(larger, widths)
            if (candidate == keep).all():
                break
            counted = self._counted(wider, budget)
            if any(counted[n] >= too_much[n] for n in measured):
                broken = larger  # as much as one that was measured
                continue
            tried = self._used(candidate, budget, measured)
            if max(tried.values()) > CLOSE:
                broken, too_much = larger, counted
                continue
            shares = larger
            if max(tried.values()) > max(used.values()):
                keep, used, widths = candidate, tried, wider
        return keep, used

    def _counted(self, widths, budget):
        """Dict, resource -> counted cost of these widths, over what is allowed."""
        return {
            name: self._costs[name].total(widths)
            / budget.allowed(name, self._costs[name])
            for name in budget.limits
        }

    def _finest(self, ratios, budget):
        """The widths if they did not have to be multiples of anything."""
        problem = self._problem
        steps = np.ones_like(problem.steps)
        finest = np.minimum(problem.smallest, problem.space.min_channels)
        smallest = np.where(problem.fixed, problem.smallest, finest)
        return self._fitted(ratios, budget.shares(self._costs), steps, smallest)

    def _used(self, keep, budget, names):
        """Dict, resource -> measured cost of these units, over what is allowed."""
        self._compact = cut(self._channels, keep)
        self._tried += 1
        return self._measured(budget, names)

    def _measured(self, budget, names):
        """As `_used`, of the network that was measured last."""
        return {
            n: budget.resource(n).measure(self._compact, self._channels)
            / budget.allowed(n, self._costs[n])
            for n in names
        }

    def _least_used(self, used, budget):
        """What a network takes at best in some more measurements, of the same file."""
        for _ in range(RETRIES):
            if max(used.values()) <= 1.0:
                break
            again = self._measured(budget, used)
            used = {n: min(used[n], again[n]) for n in used}
        return used

    def _tighter(self, shares, used, counted, dense):
        """Shares that make up for what a network took too much.

        Args:
            shares: dict, those of the network.
            used, counted, dense: dicts, resource -> share of the budget that it takes,
                as measured and as counted, and that the dense network takes.
        """
        found = dict(shares)
        for name, factor in used.items():
            if factor > 1.0:
                cost = self._costs[name]
                least = cost.total(self._problem.smallest) / cost.dense
                wanted = _where_it_is_one(counted[name], factor, dense[name])
                # Of the budget; the dense network's share of it is one of its cost.
                wanted /= dense[name] * RECUT_MARGIN
                found[name] = max(min(wanted, shares[name] / RECUT_MARGIN), least)
        return found

    def _looser(self, shares, used, broken):
        """Shares between those of a network that fits and those of one that does not.

        Args:
            shares: dict, those of the one that fits.
            used: dict, resource -> share of the budget that it takes.
            broken: dict, those of the one that does not; None: there was none.
        """
        if broken is None:
            larger = {n: min(1.0, shares[n] * CLOSE / used[n]) for n in used}
        else:
            larger = {n: math.sqrt(shares[n] * broken[n]) for n in used}
        # Counted resources keep theirs, to the last digit.
        return {**shares, **larger}


def _where_it_is_one(counted, measured, dense):
    """What has to be counted for 1 to be measured, if both are on one line.

    It goes through a network that is too large, and the dense one, of which as much is
    counted as is measured.
    """
    if math.isinf(measured) or measured >= dense or counted >= dense:
        return counted / measured
    return counted - (measured - 1.0) * (dense - counted) / (dense - measured)
