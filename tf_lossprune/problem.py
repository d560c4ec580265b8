"""What is asked of a model: its channels, what each may come down to, the budget."""

import copy
import dataclasses
import difflib
import functools
import numbers
import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tf_lossprune.allocation import (
    LEAST_MULTIPLE,
    Usage,
    minimum_widths,
    width_steps,
)
from tf_lossprune.budget import Budget
from tf_lossprune.graph import Blocks, Graph, analyze, bottlenecks, find_blocks
from tf_lossprune.resources import CostFunction, cost_models
from tf_lossprune.types import Exclude, InputShape, Multiple


@keras.saving.register_keras_serializable(package="tf_lossprune")
@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """The widths among which a search chooses, as `prune_model` takes them.

    Args:
        exclude, channel_multiple, min_channels, remove_blocks, input_shape, widths,
            filters: as in `prune_model`.

    Raises:
        TypeError: for widths that are no dict.
    """

    exclude: Exclude = None
    channel_multiple: Multiple = "auto"
    min_channels: int = 1
    remove_blocks: bool = False
    input_shape: InputShape = None
    widths: Mapping[str, int] | None = None
    filters: Exclude = None

    def __post_init__(self) -> None:
        if self.widths is not None and not isinstance(self.widths, Mapping):
            raise TypeError(
                "Expected widths as a dict from names of groups to whole numbers. "
                f"Received: {self.widths!r} (of type {type(self.widths).__name__})"
            )

    def for_layers(
        self, excluded: list[str], chosen: list[str] | None
    ) -> "SearchSpace":
        """The same of a copy of the model.

        Args:
            excluded: names of the layers in the copy that `exclude` names.
            chosen: names of those that `filters` names; None: there are no filters.
        """
        exact = [rf"\A{re.escape(name)}\Z" for name in excluded]
        filters = chosen and [rf"\A{re.escape(name)}\Z" for name in chosen]
        return dataclasses.replace(self, exclude=exact, filters=filters)

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SearchSpace":
        return cls(**config)


class PruningProblem:
    """A model, the widths that its groups may have, and the budget, once it is known.

    Args:
        model: functional or Sequential `keras.Model`, or its `Graph`.
        space: `SearchSpace`.

    Attributes:
        space: `SearchSpace`.
        channel_graph: `ChannelGraph`.
        sizes: int `[groups]`, all channels.
        steps: int `[groups]`, widths are multiples of it (or the size).
        least_steps: int `[groups]`, the smallest width is a multiple of it.
        finest: int `[groups]`, what these come down to where a budget is left unused.
        blocks: list of int arrays, the groups that may go entirely, together.
        found_blocks: `Blocks`, all that is known of them.
        smallest: int `[groups]`, the fewest channels.
        fixed: bool `[groups]`, whose width is that and no other.
        budget: `Budget`, bound to the model.
        costs: dict, resource -> `CostFunction`.
        shares: dict, resource -> share of the dense cost that is allowed.

    Raises:
        TypeError, ValueError: if the model cannot be traced, or for wrong values.
    """

    budget: Budget
    costs: dict[str, CostFunction]
    shares: dict[str, float]

    def __init__(self, model: keras.Model | Graph, space: SearchSpace) -> None:
        self.space = space
        channels = analyze(model, space.exclude, space.input_shape, space.filters)
        self.channel_graph = channels
        self.sizes = np.array([group.size for group in channels.groups], int)
        producers = [group.producers for group in channels.groups]
        multiple = space.channel_multiple
        self.steps = width_steps(self.sizes, multiple, producers)
        self.finest = width_steps(self.sizes, multiple, producers, most=1)
        found = find_blocks(channels) if space.remove_blocks else Blocks([], [], {})
        channels.goes_with = found.goes_with
        self.blocks = [block.groups for block in found.removable]
        self.found_blocks = found
        # Wide steps are for what remains wide, and bar no budget.
        self.least_steps = width_steps(self.sizes, multiple, producers, LEAST_MULTIPLE)
        self.smallest = minimum_widths(
            self.sizes, self.least_steps, space.min_channels, self.blocks
        )
        self.fixed = np.zeros(len(self.sizes), bool)

    def with_budget(self, budget: Budget) -> "PruningProblem":
        """The same problem under a budget.

        Args:
            budget: `Budget`.

        Returns:
            The problem, with the widths that the search space gives by hand.

        Raises:
            TypeError, ValueError: as `with_widths`; ValueError if the model has no
                channels that may go.
            InfeasibleBudgetError: if the smallest widths break the budget.
        """
        channels = self.channel_graph
        if not channels.groups:
            reasons = "; ".join(f"{n}: {r}" for n, r in channels.frozen)
            raise ValueError(
                "Expected a model with prunable channels, but every channel is "
                "frozen. Output channels always stay, so the model needs a hidden "
                "layer (a convolution, a dense layer ...); if layers are excluded, "
                "exclude fewer; custom layers need a rule (`register_rule`). "
                f"Received: {channels.graph.name!r} ({reasons})"
            )
        found = copy.copy(self)
        found.budget = budget.bind(channels)
        found.costs = cost_models(
            channels,
            dict.fromkeys(["macs", "params", *budget.limits]),
            found.budget.resources,
            # Shown beside the budget, where it can be counted.
            optional={"macs": None} if "macs" not in budget.limits else {},
        )
        found.budget.check_feasible(found.costs, self.smallest)
        found.shares = found.budget.shares(found.costs)
        if self.space.widths and not self.fixed.any():
            return found.with_widths(self.space.widths)
        return found

    @property
    def largest(self) -> np.ndarray:
        """Int `[groups]`, the most channels."""
        return np.where(self.fixed, self.smallest, self.sizes)

    def with_widths(self, widths: Mapping[str, int]) -> "PruningProblem":
        """The same problem, with some widths chosen by hand.

        Args:
            widths: dict, group name -> kept channels, of any number of groups. They
                need not be multiples of anything.

        Raises:
            TypeError: for widths that are no whole numbers.
            ValueError: for names that no group has, and widths that it cannot have.
            InfeasibleBudgetError: if no widths of the other groups keep the budget.
        """
        index = {group.name: k for k, group in enumerate(self.channel_graph.groups)}
        found = copy.copy(self)
        found.smallest, found.fixed = self.smallest.copy(), self.fixed.copy()
        for name, width in widths.items():
            self._check_width(index, name, width)
            found.smallest[index[name]] = width
            found.fixed[index[name]] = True
        found.blocks = []
        least = minimum_widths(self.sizes, self.least_steps, self.space.min_channels)
        for block in self.blocks:
            given = block[found.fixed[block]]
            gone = found.smallest[given] == 0
            if not len(given):
                found.blocks.append(block)
            elif gone.all():
                found.smallest[block], found.fixed[block] = 0, True
            elif not gone.any():
                free = block[~found.fixed[block]]
                found.smallest[free] = least[free]
            else:
                names = [self.channel_graph.groups[k].name for k in given]
                raise ValueError(
                    f"Expected widths of 0 for all of {names} or for none of them: "
                    "they are one block, which goes as a whole. "
                    f"Received: { {name: widths[name] for name in names} }"
                )
        found.budget.check_feasible(found.costs, found.smallest, dict(widths))
        return found

    def _check_width(self, index: Mapping[str, int], name: str, width: Any) -> None:
        if name not in index:
            near = difflib.get_close_matches(str(name), index, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(
                f"Expected widths of groups among {[*index]}{hint}. Groups have the "
                "names of layers, which differ from process to process unless you "
                f"give them. Received: {name!r}"
            )
        if isinstance(width, bool) or not isinstance(width, numbers.Integral):
            raise TypeError(
                f"Expected the width of {name!r} as a whole number of channels. "
                f"Received: {width!r} (of type {type(width).__name__})"
            )
        k = index[name]
        least = 0 if any(k in block for block in self.blocks) else 1
        if not least <= int(width) <= self.sizes[k]:
            hint = ""
            if width == 0:
                hint = " (0 takes `remove_blocks=True`, and a skip path around it)"
            raise ValueError(
                f"Expected the width of {name!r} from {least} to {self.sizes[k]}"
                f"{hint}. Received: {width!r}"
            )

    def usage(self, widths: np.ndarray, budget: Budget | None = None) -> Usage:
        """How much of a budget whole widths use, as counted.

        Args:
            widths: int `[groups]`.
            budget: `Budget` on the same resources; None: the problem's.
        """
        budget = budget or self.budget
        allowed = {n: budget.allowed(n, self.costs[n]) for n in budget.limits}
        names = [group.name for group in self.channel_graph.groups]
        return Usage.of(widths, self.costs, allowed, self.steps, self.largest, names)

    @functools.cached_property
    def bottlenecks(self) -> np.ndarray:
        """Bool `[groups]`, those that everything passes through."""
        return bottlenecks(self.channel_graph)
