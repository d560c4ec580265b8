"""What the delivered network may cost."""

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from tf_lossprune.budget_text import LIMIT
from tf_lossprune.errors import InfeasibleBudgetError
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.resources import RESOURCES, CostFunction, Resource
from tf_lossprune.resources.base import MILLISECONDS
from tf_lossprune.resources.measurer import Measurer, share_measurers
from tf_lossprune.types import Limits

#: A number above 1 and below this is no plausible number of MACs or bytes.
SMALLEST_COUNT = 1000


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Budget:
    """Upper limits on resources. All of them hold at once.

    A limit is a share of the dense model's cost or an absolute amount:

    - a number in (0, 1], or a string in percent (`"50%"`), is a share;
    - a string with a unit is an amount: `"300kB"`, `"1.5 MiB"`, `"4 ms"`, `"20M"`;
    - a number of at least 1000 (in milliseconds: above 1) is an amount.

    Anything ambiguous, such as the integer 1, is an error.

    Args:
        limits: dict, resource name -> limit. Resources: `"macs"`, `"params"`,
            `"size_bytes"` (of the .tflite file), `"peak_memory_bytes"`,
            `"tflm_arena_bytes"`, `"npu_cycles"`, and those
            in `resources`. A number alone is the limit of `"macs"`.
        resources: list of `Resource`s with their own settings, such as
            `SizeBytes("int8")`; they take precedence over the standard ones.

    Raises:
        TypeError: if `limits` is neither a dict nor a number, or holds neither
            numbers nor texts.
        ValueError: for an empty dict, an unknown resource, or a limit that cannot
            be read.

    Example:

    ```python
    Budget({"macs": 0.5, "size_bytes": "300kB"}, resources=[SizeBytes("int8")])
    ```
    """

    limits: dict[str, Any]
    resources: list[Resource]

    def __init__(
        self, limits: "Budget | Limits | float", resources: Iterable[Resource] = ()
    ) -> None:
        if isinstance(limits, Budget):
            resources = [*resources, *limits.resources]
            limits = limits.limits
        elif isinstance(limits, numbers.Real) and not isinstance(limits, bool):
            limits = {"macs": limits}  # type: ignore[dict-item]
        if not isinstance(limits, dict):
            raise TypeError(
                "Expected a budget as a dict such as {'macs': 0.5}, a share of the "
                "MACs such as 0.5, or a Budget. "
                f"Received: {limits!r} (of type {type(limits).__name__})"
            )
        for resource in resources:
            if not isinstance(resource, Resource):
                raise TypeError(
                    "Expected resources as a list of tf_lossprune Resources. "
                    f"Received: {resource!r} (of type {type(resource).__name__})"
                )
        self.resources = list(resources)
        self._known = {**RESOURCES, **{r.name: r for r in self.resources}}
        if not limits:
            raise ValueError(
                f"Expected a budget on at least one of {sorted(self._known)}. "
                f"Received: {limits!r}"
            )
        self._amounts = {name: self._read(name, v) for name, v in limits.items()}
        self.limits = dict(limits)

    def resource(self, name: str) -> Resource:
        """The `Resource` of this name."""
        return self._known[name]

    def with_measurer(self, measurer: Measurer) -> "Budget":
        """This budget, with what its resources ask where they cannot count.

        Args:
            measurer: `Measurer`.
        """
        return self._changed(lambda resource: resource.with_measurer(measurer))

    def bind(self, channels: ChannelGraph) -> "Budget":
        """This budget, with what its resources measure of the dense model.

        Args:
            channels: `ChannelGraph`.
        """
        return self._changed(lambda resource: resource.bind(channels))

    def _changed(self, change: Callable[[Resource], Resource]) -> "Budget":
        found = {r.name: r for r in self.resources}
        for name in self.limits:
            resource = change(self._known[name])
            if resource is not self._known[name]:
                found[name] = resource
        return Budget(self.limits, found.values())

    def shares(self, costs: Mapping[str, CostFunction]) -> dict[str, float]:
        """The limits as shares of the dense cost: dict, resource -> float.

        Args:
            costs: dict, resource -> `CostFunction`.
        """
        found = {}
        for name, (value, is_share) in self._amounts.items():
            share = value if is_share else value / max(costs[name].dense, 1e-12)
            found[name] = min(share, 1.0)
        return found

    def allowed(self, name: str, cost: Any) -> float:
        """The limit on one resource in its own unit.

        Args:
            name: string, the resource.
            cost: its `CostFunction`.
        """
        value, is_share = self._amounts[name]
        return value * cost.dense if is_share else value

    def check_feasible(
        self,
        costs: Mapping[str, CostFunction],
        smallest_kept: np.ndarray,
        by_hand: Mapping[str, int] | None = None,
    ) -> None:
        """Raises `InfeasibleBudgetError` unless the smallest widths keep it.

        Costs only grow with the widths, so what each resource can reach alone, all
        can reach together.

        Args:
            costs: dict, resource -> `CostFunction`.
            smallest_kept: int `[groups]`, the fewest channels per group.
            by_hand: dict of the widths among them that the user chose, or None.
        """
        smallest = {
            name: costs[name].total(smallest_kept) / max(costs[name].dense, 1e-12)
            for name in self.limits
        }
        shares = self.shares(costs)
        broken = [name for name in shares if smallest[name] > shares[name]]
        if broken:
            reach = ", ".join(
                f"{name}={smallest[name]:.4f} of the dense model "
                f"({costs[name].total(smallest_kept):,.6g} {self._known[name].unit})"
                for name in smallest
            )
            if by_hand:
                raise InfeasibleBudgetError(
                    f"Expected widths that keep the budget {self.limits}. With these, "
                    "and every other prunable group at its minimum width, the values "
                    f"are {reach}. Received: {by_hand}",
                    smallest,
                )
            raise InfeasibleBudgetError(
                f"This budget on {' and '.join(broken)} cannot be met: with every "
                "prunable group at its minimum width the smallest reachable values, "
                f"alone and together, are {reach}. Raise the budget, lower "
                "`min_channels` or `channel_multiple`, or exclude fewer layers "
                f"(`inspect_model` shows what is frozen). Received: {self.limits}",
                smallest,
            )

    def _read(self, name: str, limit: Any) -> tuple[float, bool]:
        """A limit as `(value, whether it is a share)`."""
        if name not in self._known:
            raise ValueError(
                f"Expected a resource among {sorted(self._known)}. Received: {name!r}"
            )
        resource = self._known[name]
        if isinstance(limit, str):
            value, is_share = _read_text(name, limit, resource.units)
        elif isinstance(limit, bool) or not isinstance(limit, numbers.Real):
            raise TypeError(
                f"Expected the budget of {name!r} as a number or a string with a unit. "
                f"Received: {limit!r} (of type {type(limit).__name__})"
            )
        else:
            value, is_share = float(limit), limit <= 1
        if math.isnan(value) or value <= 0 or math.isinf(value):
            raise ValueError(
                f"Expected the budget of {name!r} above 0, for example 0.5 for one "
                f"half. Received: {limit!r}"
            )
        if isinstance(limit, str):
            return value, is_share
        in_time = resource.units is MILLISECONDS
        if limit == 1 and (in_time or isinstance(limit, numbers.Integral)):
            raise ValueError(
                f"A budget of 1 for {name!r} could mean all of the dense model or 1 "
                f"{resource.unit}: write '100%' or the string "
                f"'{_as_text(1, resource)}'. "
                f"Received: {limit!r}"
            )
        if not is_share and not in_time and limit < SMALLEST_COUNT:
            raise ValueError(
                f"Expected the budget of {name!r} as a share of the dense model, such "
                f"as 0.5 or '50%', or as an amount of at least {SMALLEST_COUNT} "
                f"{resource.unit}; write smaller amounts as a string, such as "
                f"'{_as_text(limit, resource)}'. Received: {limit!r}"
            )
        return value, is_share

    def get_config(self) -> dict[str, Any]:
        return {
            "limits": dict(self.limits),
            "resources": [
                keras.saving.serialize_keras_object(r) for r in self.resources
            ],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Budget":
        resources = [
            keras.saving.deserialize_keras_object(r)
            for r in config.get("resources", [])
        ]
        share_measurers(resources)
        return cls(config["limits"], resources)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Budget) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Budget({self.limits})"


def _as_text(amount: float, resource: Resource) -> str:
    """An amount as a string that means nothing else."""
    unit = next(unit for unit, factor in resource.units.items() if factor == 1.0)
    return f"{amount:g} {unit}".rstrip()


def _read_text(name: str, text: str, units: Mapping[str, float]) -> tuple[float, bool]:
    match = LIMIT.fullmatch(text)
    number, unit = (match.group(1), match.group(2)) if match else ("", None)
    try:
        value = float(number)
    except ValueError:
        value, unit = 0.0, None
    if unit == "%" and value <= 100:
        return value / 100, True
    if unit is None or unit not in units:
        raise ValueError(
            f"Expected the budget of {name!r} as a number with a unit among "
            f"{[u for u in units if u]}, or in percent up to 100%. Received: {text!r}"
        )
    return value * units[unit], False
