"""What is left of each group, and what it costs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from tf_lossprune.allocation import Usage, choose_units
from tf_lossprune.budget import Budget
from tf_lossprune.gates.importance import Automatic
from tf_lossprune.resources import plain
from tf_lossprune.training.between import HALFWAY, Choice
from tf_lossprune.training.choice import WidthChoice
from tf_lossprune.training.finite import check_weights
from tf_lossprune.types import Limits
from tf_lossprune.values import numpy_of


class Kept:
    """Mix-in for `PrunedModel`: the ratios, widths and channels of its groups."""

    def keep_ratios(self) -> dict[str, float]:
        """Dict, group name -> keep ratio (of the delivered widths once fixed)."""
        self.sync_state()
        if self.search.read("fixed"):
            return {n: kept / size for n, (kept, size) in self.kept_channels().items()}
        started = self.search.read("search_steps") > 0 and bool(self.search.searching())
        values = np.ones(len(self.groups))
        if started:
            values = ops.convert_to_numpy(self.search.ratios())
        return {g.name: float(v) for g, v in zip(self.groups, values)}

    def kept_units(self) -> np.ndarray:
        """Bool `[num_units + 1]`: which channel units are delivered."""
        self.sync_state()
        return numpy_of(self.search.kept) > 0.5

    @property
    def channels_are_open(self) -> bool:
        """Whether it is open which channels the widths, already fixed, keep.

        That is with `importance="auto"` where the widths do not follow from the
        channels' importance, until `decide` is told the importance or training starts.
        """
        given = self.problem.space.widths is not None
        if not given and self.options.method.reads_importance:
            return False
        if not isinstance(self.options.importance, Automatic):
            return False
        known = numpy_of(self.search.importance)
        return bool(np.allclose(known, self.current_importance(), rtol=1e-5))

    def choose_channels(self, importance: np.ndarray | None) -> None:
        """Lets fixed widths keep other channels.

        Args:
            importance: as `decide` takes it; None: they keep those that they have.
        """
        if importance is None:
            return
        widths = np.array([kept for kept, _ in self.kept_channels().values()])
        keep = choose_units(importance, self.groups, widths)
        self.search.importance.assign(importance)
        self.search.kept.assign(keep.astype("float32"))

    @property
    def widths(self) -> dict[str, int]:
        """Dict, group name -> kept channels; see `decide`."""
        return {name: kept for name, (kept, _) in self.kept_channels().items()}

    def kept_channels(
        self, keep: np.ndarray | None = None
    ) -> dict[str, tuple[int, int]]:
        """Dict, group name -> (kept channels, all channels).

        Args:
            keep: bool `[num_units + 1]` or None, the units that stay; None: those
                that are delivered.
        """
        keep = self.kept_units() if keep is None else keep
        return {g.name: (int(keep[g.units].sum()), g.size) for g in self.groups}

    def usage(
        self, keep: np.ndarray | None = None, budget: Budget | None = None
    ) -> Usage:
        """How much of its budgets a network uses, and what the next width would take.

        Args:
            keep: as in `kept_channels`.
            budget: `Budget` on the same resources; None: the model's.

        Returns:
            `Usage`; what was measured when the channels were chosen is as measured.
        """
        widths = np.array([kept for kept, _ in self.kept_channels(keep).values()])
        found = self.problem.usage(widths, budget)
        if keep is None and budget is None:
            found.used.update(self.choice.measured)
        return found

    def described_groups(
        self, keep: np.ndarray | None = None, scores: np.ndarray | None = None
    ) -> list[dict[str, Any]]:
        """What became of each group, as plain values: `CompressionResult.groups`.

        Args:
            keep: as in `kept_channels`.
            scores: float `[num_units + 1]` or None: those by which the channels that
                are delivered were chosen.
        """
        keep = self.kept_units() if keep is None else keep
        if scores is None:
            scores = numpy_of(self.search.importance)
        return [
            {
                "name": group.name,
                "kept": int(keep[group.units].sum()),
                "total": group.size,
                "ratio": float(keep[group.units].mean()),
                "channels": np.flatnonzero(keep[group.units]).tolist(),
                "scores": scores[group.units].tolist(),
                "producers": list(group.producers),
                "through": list(group.through),
                "consumers": list(group.consumers),
            }
            for group in self.groups
        ]

    def described_layers(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The layers that make channels, in the network's order.

        Args:
            groups: as `described_groups` returns them.
        """
        made: dict[str, list] = {}
        for group in groups:
            for producer in group["producers"]:
                made.setdefault(producer, []).append(group)
        names = (call.operation.name for call in self.channel_graph.graph.calls)
        return [
            {
                "name": name,
                "kept": sum(group["kept"] for group in made[name]),
                "total": sum(group["total"] for group in made[name]),
                "groups": [group["name"] for group in made[name]],
            }
            for name in dict.fromkeys(names)
            if name in made
        ]

    def described_costs(self, keep: np.ndarray | None = None) -> list[dict[str, Any]]:
        """What each layer costs before and after: `CompressionResult.layer_costs`.

        Args:
            keep: as in `kept_channels`.
        """
        pairs = self.kept_channels(keep).values()
        kept, sizes = np.array([*pairs], int).reshape(-1, 2).T
        found: dict[str, dict[str, Any]] = {}
        for name, model in self.costs.items():
            after = model.per_layer(kept)
            for layer, value in model.per_layer(sizes).items():
                entry = found.setdefault(layer, {"name": layer})
                entry[name] = [plain(value), plain(after.get(layer, 0.0))]
        calls = self.channel_graph.graph.calls
        names = dict.fromkeys([*(c.operation.name for c in calls), *found])
        return [found[name] for name in names if name in found]

    def described_uniform(self, budget: Budget | None = None) -> dict[str, Any]:
        """What the budget allows with the same share of each group, not trained.

        Args:
            budget: as in `usage`.

        Returns:
            Dict with `"widths"`, group name -> channels, and the counted costs.
        """
        shares = self.shares if budget is None else budget.shares(self.costs)
        widths = WidthChoice(self.problem).widths(np.ones(len(self.groups)), shares)
        costs = {n: self.costs[n] for n in ("macs", "params") if n in self.costs}
        return {
            "widths": {g.name: int(n) for g, n in zip(self.groups, widths)},
            **{name: plain(cost.total(widths)) for name, cost in costs.items()},
        }

    def cost(self) -> dict[str, float]:
        """Dict, resource -> cost of the network with the kept channels."""
        kept = np.array([k for k, _ in self.kept_channels().values()])
        return {name: plain(model.total(kept)) for name, model in self.costs.items()}

    def passes(self, budget: Budget | Limits | float, step: int) -> bool:
        """Whether a search at this step has come down to a budget.

        Args:
            budget: dict or `Budget` on the same resources.
            step: int, training steps done.
        """
        if not self._search_range:
            return False
        start, length = self._search_range
        wanted = self._with_resources(budget).shares(self.costs)
        progress = np.clip((step - start) / length, 0.0, 1.0)
        limits = self.options.schedule.budget(
            float(progress), np.array([self.shares[name] for name in wanted])
        )
        limits = ops.convert_to_numpy(limits)
        return bool((limits <= np.array([*wanted.values()]) + 1e-6).all())

    def learned_ratios(self, shares: Mapping[str, float]) -> np.ndarray:
        """The ratios `[groups]` that a search has learned so far.

        Args:
            shares: dict, resource -> share of the dense cost that they are for.
        """
        importance = self.current_importance()
        return self.options.method.ratios(self.search, importance, self._limits(shares))

    def snapshot(
        self, budget: Budget | Limits | float, choice: Choice | None = None
    ) -> np.ndarray:
        """Which units a looser budget on the same resources keeps, as learned so far.

        Args:
            budget: dict or `Budget`.
            choice: `Choice` for this budget; None: the method's.

        Returns:
            bool `[num_units + 1]`.

        Raises:
            ValueError: if the weights hold NaN or Inf.
        """
        check_weights(self)
        wanted = self._with_resources(budget)
        choice = choice or Choice()
        importance, ratios = choice.importance, choice.ratios
        if importance is None:
            importance = self.current_importance()
        if ratios is None:
            limits = self._limits(wanted.shares(self.costs))
            ratios = self._method_ratios(importance, limits)
        return self.choice.units(importance, ratios, wanted)

    def _limits(self, shares: Mapping[str, float]) -> np.ndarray:
        return np.array([shares[name] for name in self.shares], "float32")

    def _method_ratios(self, importance: np.ndarray, limits: np.ndarray) -> np.ndarray:
        found = self.options.method.ratios(self.search, importance, limits)
        if self.search.frozen.on_host:
            shares = dict(zip(self.shares, limits.tolist()))
            [found] = self.choice.between(found, shares, [HALFWAY])
        return found

    def _with_resources(self, budget: Budget | Limits | float) -> Budget:
        budget = Budget(Budget(budget).limits, self.budget.resources)
        if budget.limits.keys() != self.budget.limits.keys():
            raise ValueError(
                "Expected a budget on the same resources as the model's: "
                f"{[*self.budget.limits]}. Received: {budget.limits}"
            )
        return budget
