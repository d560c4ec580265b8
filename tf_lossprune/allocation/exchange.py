"""Whole widths of the most worth under all budgets: greedy, then exchanges."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tf_lossprune.types import Cost

#: Channels by which a group is widened at once where more may cost less.
FARTHEST = 16
#: By how many steps an exchange changes the group that it starts with.
FIRST_STEPS = (1, -1, 2, -2)
#: The same of two groups at once, where no more than so many can change.
PAIRS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
MOST_PAIRED = 16
#: Rounds over all groups after which the search ends.
MAX_ROUNDS = 30
#: A gain below this share of all worth is none.
LEAST_GAIN = 1e-6


class WidthExchange:
    """Looks for the whole widths of the most worth that keep all budgets.

    An exchange changes one group, or a block, by some steps. If that breaks a budget,
    others give steps up, those first that lose the least worth for what they save; what
    is left then, others use, those first that gain the most for what they cost. It is
    kept if it raises the worth of all.

    Args:
        worth: function from int widths `[groups]` to what each is worth to its group,
            a float array of the same shape.
        costs: list of `CostFunction`s.
        allowed: float `[costs]`, what each may be at most.
        steps: int `[groups]`, widths are multiples of it (or the most).
        lower, upper: int `[groups]`, the fewest and the most channels.
        blocks: list of int arrays, groups that can only lose all their channels
            together. Those with a `lower` of 0 are closed and opened.
    """

    def __init__(
        self,
        worth: Callable[[np.ndarray], np.ndarray],
        costs: Sequence[Cost],
        allowed: Any,
        steps: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        blocks: Sequence[np.ndarray] = (),
    ) -> None:
        self.worth, self.costs = worth, list(costs)
        self.allowed = np.asarray(allowed, float)[:, None]
        self.steps, self.lower, self.upper = map(np.asarray, (steps, lower, upper))
        self.blocks = [block for block in blocks if not self.lower[block].any()]
        # Budgets are compared as shares of what they allow.
        self._unit = np.maximum(np.abs(self.allowed), 1e-12)
        # What is added up in another order differs in the last digit.
        self._limit = self.allowed - 1e-12 * self._unit
        monotone = all(cost.monotone for cost in self.costs)
        self._reach = 1 if monotone else int(-(-FARTHEST // self.steps.min(initial=1)))
        self._nobody = np.zeros(len(self.steps), bool)

    def fits(self, widths: np.ndarray) -> bool:
        """Whether these widths keep all budgets, to the last digit."""
        return bool((self._totals(widths) <= self.allowed).all())

    def used(self, widths: np.ndarray) -> float:
        """The largest share that these widths take of a budget, a float."""
        return float((self._totals(widths) / self._unit).max())

    def best(self, widths: np.ndarray) -> np.ndarray:
        """The widths that no exchange makes better, from some that keep the budgets."""
        best = self._filled(widths)
        most = self.worth(best).sum()
        least = LEAST_GAIN * max(np.abs(self.worth(self.upper)).sum(), 1e-12)
        for _ in range(MAX_ROUNDS):
            before = most
            for change in self._first_changes():
                if change[1] in PAIRS and most > before:
                    break  # first all that single groups can gain
                trial = self._exchanged(best, *change, most + least)
                if trial is not None and self.fits(trial):
                    best, most = trial, self.worth(trial).sum()
            if most == before:
                break
        return self._filled(best)

    def step_up(self, widths: np.ndarray, per_cost: bool = True) -> np.ndarray | None:
        """The step that fits and gains the most for what it costs.

        Args:
            widths: int `[groups]` that keep the budgets.
            per_cost: bool; False: the step that gains the most, whatever it costs.

        Returns:
            The widths after it; None if no step fits.
        """
        found = self._step_up(widths, self._nobody, self._reach, per_cost)
        return None if found is None else _with(widths, *found[:2])

    def _step_up(
        self, widths: np.ndarray, held: np.ndarray, reach: int, per_cost: bool = True
    ) -> tuple[int, int, float] | None:
        """A group's index, its new width, and what it gains for all that is left."""
        now, worth = self._totals(widths), self.worth(widths)
        room = np.maximum(self.allowed - now, 1e-9 * self._unit)
        for count in range(1, reach + 1):
            larger = self._larger(widths, count)
            totals = self._totals_with(widths, larger)
            good = (larger > widths) & ~held & (totals <= self._limit).all(axis=0)
            taken = (np.maximum(totals - now, 0.0) / room).sum(axis=0)
            rate = (self.worth(larger) - worth) / (taken + 1e-12 if per_cost else 1.0)
            k = int(np.where(good, rate, -np.inf).argmax())
            if good[k]:
                return k, larger[k], rate[k]
        return None

    def _filled(
        self,
        widths: np.ndarray,
        held: np.ndarray | None = None,
        goal: float = -np.inf,
    ) -> Any:
        """Widens groups until no step more keeps the budgets.

        Args:
            widths: int `[groups]` that keep them.
            held: bool `[groups]`, groups that stay as they are; None: none, and of each
                several steps are tried at once where more may cost less.
            goal: float, what all widths have to be worth more than.

        Returns:
            int `[groups]`; None if they cannot be worth more than the goal, since no
            later step gains more for what it costs than the first.
        """
        reach = self._reach if held is None else 1
        held = self._nobody if held is None else held
        while (found := self._step_up(widths, held, reach)) is not None:
            if self.worth(widths).sum() + len(self.costs) * found[2] <= goal:
                return None
            widths = _with(widths, *found[:2])
        return widths if self.worth(widths).sum() > goal else None

    def _first_changes(self) -> Iterator[tuple[Any, tuple[int, ...] | None]]:
        """The groups that an exchange starts with, and by how many steps each."""
        free = np.flatnonzero(self.upper > self.lower)
        for block in self.blocks:
            yield block, None
        for k in free:
            for count in FIRST_STEPS:
                yield [k], (count,)
        if len(free) <= MOST_PAIRED:
            for pair in itertools.combinations(free, 2):
                for counts in PAIRS:
                    yield list(pair), counts

    def _exchanged(
        self,
        widths: np.ndarray,
        groups: Any,
        counts: tuple[int, ...] | None,
        goal: float,
    ) -> np.ndarray | None:
        """The widths after an exchange, or None: it does not raise the worth.

        Args:
            widths: int `[groups]`.
            groups: list of the groups that it starts with.
            counts: tuple, by how many steps each; None: they are closed, or opened.
            goal: float, what all widths have to be worth more than.
        """
        trial, held = widths.copy(), self._nobody.copy()
        held[groups] = True
        if counts is None:
            first = np.minimum(self.steps, self.upper)[groups]
            trial[groups] = 0 if widths[groups].any() else first
        else:
            for k, count in zip(groups, counts):
                changed = self._larger if count > 0 else self._smaller
                trial[k] = changed(widths, abs(count))[k]
        if (trial[groups] == widths[groups]).any():
            return None
        trial = self._shrunk(trial, held)
        return None if trial is None else self._filled(trial, held, goal)

    def _shrunk(self, widths: np.ndarray, held: np.ndarray) -> np.ndarray | None:
        """Narrows groups that are not held until the budgets hold, or None."""
        now = self._totals(widths)
        while (now > self._limit).any():
            smaller = self._smaller(widths, 1)
            totals = self._totals_with(widths, smaller)
            left = np.maximum(totals - self._limit, 0.0)
            saved = np.maximum(now - self._limit, 0.0) - left
            saved = (saved / self._unit).sum(axis=0)
            good = (smaller < widths) & ~held & (saved > 0)
            if not good.any():
                return None
            lost = self.worth(widths) - self.worth(smaller)
            k = int(np.where(good, lost / np.where(good, saved, 1.0), np.inf).argmin())
            widths, now = _with(widths, k, smaller[k]), totals[:, k : k + 1]
        return widths

    def _larger(self, widths: np.ndarray, count: int) -> np.ndarray:
        """Widths `[groups]`, of each open group some steps more, as far as it goes."""
        more = np.minimum((widths // self.steps + count) * self.steps, self.upper)
        return np.where(widths > 0, np.maximum(more, widths), widths)

    def _smaller(self, widths: np.ndarray, count: int) -> np.ndarray:
        """Widths `[groups]`, of each group some steps less, as far as it goes."""
        least = np.maximum(self.lower, 1)
        for _ in range(count):
            less = (-(-widths // self.steps) - 1) * self.steps
            widths = np.where(less >= least, less, widths)
        return widths

    def _totals(self, widths: np.ndarray) -> np.ndarray:
        return np.array([[cost.total(widths)] for cost in self.costs])

    def _totals_with(self, widths: np.ndarray, changed: np.ndarray) -> np.ndarray:
        """Float `[costs, groups]`: what it costs if one group gets its new width."""
        return np.stack([cost.totals_with(widths, changed) for cost in self.costs])


def _with(widths: np.ndarray, k: int, width: int) -> np.ndarray:
    widths = widths.copy()
    widths[k] = width
    return widths
