"""How much of its budgets a network uses, and why it does not use more."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tf_lossprune.types import Cost


@dataclasses.dataclass(frozen=True)
class Usage:
    """What whole widths take of the budgets.

    Attributes:
        used: dict, resource -> share of what is allowed.
        with_next: dict, the same if the group whose next width is the cheapest had it;
            empty if no group can be wider.
        next_group: string, the name of that group; None if there is none.
    """

    used: dict[str, float]
    with_next: dict[str, float]
    next_group: str | None = None

    @classmethod
    def of(
        cls,
        widths: np.ndarray,
        costs: Mapping[str, Cost],
        allowed: Mapping[str, float],
        steps: np.ndarray,
        largest: np.ndarray,
        names: Sequence[str],
    ) -> "Usage":
        """Counts it.

        Args:
            widths: int `[groups]`.
            costs: dict, resource -> `CostFunction`.
            allowed: dict, resource -> the most, in the resource's unit.
            steps: int `[groups]`, by how many channels each group can be wider.
            largest: int `[groups]`, the most channels.
            names: list `[groups]` of strings.
        """
        widths, limit = np.asarray(widths), np.array([[a] for a in allowed.values()])
        larger = np.minimum((widths // steps + 1) * steps, largest)
        larger = np.where(widths > 0, np.maximum(larger, widths), widths)
        totals = np.stack([costs[n].totals_with(widths, larger) for n in allowed])
        shares = totals / np.maximum(limit, 1e-12)
        used = {n: float(costs[n].total(widths) / a) for n, a in allowed.items()}
        if (larger == widths).all():
            return cls(used, {})
        k = int(np.where(larger > widths, shares.max(axis=0), np.inf).argmin())
        return cls(used, dict(zip(allowed, shares[:, k].tolist())), names[k])

    def __str__(self) -> str:
        text = " and ".join(f"{u:.2%} of {name}" for name, u in self.used.items())
        if not self.with_next:
            return f"The network uses {text} of its budget; it is as wide as it can be."
        name = max(self.with_next, key=lambda n: self.with_next[n])
        return (
            f"The network uses {text} of its budget; the next width of "
            f"{self.next_group!r}, the cheapest step, would take "
            f"{self.with_next[name]:.2%} of {name}."
        )
