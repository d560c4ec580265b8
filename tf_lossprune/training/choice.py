"""Which units stay, so that the budgets hold on the network that is delivered."""

from tf_lossprune.allocation import (
    choose_units,
    fit_widths,
    minimum_widths,
    width_steps,
)
from tf_lossprune.errors import InfeasibleBudgetError
from tf_lossprune.graph import removable_blocks
from tf_lossprune.surgery import cut

#: Cuts after which a measured budget is given up, and how much more each takes.
MAX_RECUTS = 8
RECUT_MARGIN = 1.005


class WidthChoice:
    """Turns ratios into whole widths, and widths into the units that stay.

    Args:
        channels: `ChannelGraph`.
        costs: dict, resource -> `CostFunction`.
        options: `PruningOptions`.

    Attributes:
        steps: the widths that each group may have, as `width_steps` gives them.
        smallest: int `[groups]`, the fewest channels.
        recuts: int, how often the last choice had to cut more after a measurement.
    """

    def __init__(self, channels, costs, options):
        self._channels, self._costs = channels, costs
        sizes = [group.size for group in channels.groups]
        producers = [group.producers for group in channels.groups]
        self.steps = width_steps(sizes, options.channel_multiple, producers)
        self._blocks = removable_blocks(channels) if options.remove_blocks else []
        self.smallest = minimum_widths(
            sizes, self.steps, options.min_channels, self._blocks
        )
        self.recuts = 0

    def widths(self, ratios, shares):
        """Whole widths `[groups]` which keep all budgets and use them.

        Args:
            ratios: float `[groups]`.
            shares: dict, resource -> share of the dense cost that is allowed.
        """
        return fit_widths(
            ratios, self._costs, shares, self.steps, self.smallest, self._blocks
        )

    def units(self, importance, ratios, budget):
        """The units that stay; cuts more as long as the network, measured, is too dear.

        Counted resources need no second cut: they are exact.

        Args:
            importance: float `[num_units + 1]`.
            ratios: float `[groups]`.
            budget: `Budget`, bound to the model.

        Returns:
            bool `[num_units + 1]`.

        Raises:
            InfeasibleBudgetError: if a measured budget cannot be met.
        """
        shares, self.recuts = budget.shares(self._costs), 0
        while True:
            widths = self.widths(ratios, shares)
            keep = choose_units(importance, self._channels.groups, widths)
            excess = self._measured_excess(keep, budget)
            if not excess:
                return keep
            if self.recuts == MAX_RECUTS or (widths <= self.smallest).all():
                raise InfeasibleBudgetError(
                    "The network breaks its budget when measured, and cutting more "
                    "channels did not help. Received: "
                    f"{budget.limits}, exceeded by a factor of {excess}"
                )
            self.recuts += 1
            for name, factor in excess.items():
                cost = self._costs[name]
                least = cost.total(self.smallest) / cost.dense
                shares[name] = max(shares[name] / (factor * RECUT_MARGIN), least)

    def _measured_excess(self, keep, budget):
        """Dict, resource -> factor by which the network with these units exceeds it."""
        names = [n for n in budget.limits if budget.resource(n).measured]
        compact = cut(self._channels, keep) if names else None
        found = {}
        for name in names:
            measured = budget.resource(name).measure(compact, self._channels)
            allowed = budget.allowed(name, self._costs[name])
            if measured > allowed:
                found[name] = measured / allowed
        return found
