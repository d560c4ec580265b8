"""Whole widths which keep every budget, and which use it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_lossprune.allocation.exchange import WidthExchange
from tf_lossprune.allocation.worth import Worth, largest_scale
from tf_lossprune.graph import Group
from tf_lossprune.types import Cost, Multiple

#: The multiples that "auto" takes, and the fewest width steps that a group should have.
AUTO_MULTIPLES, AUTO_STEPS = (2, 4, 8, 16, 32), 8
#: The largest of them that a group can always come down to.
LEAST_MULTIPLE = 8
#: Bottlenecks of fewer channels round up.
NARROW = 4
#: What exchanges leave a group of the width that its ratio asks for, at least; where
#: rounding down leaves less, that.
LEAST_LEFT = 0.75
#: The share of a budget below which "auto" takes smaller multiples in some groups.
ENOUGH = 0.97


def width_steps(
    sizes: np.ndarray,
    channel_multiple: Multiple,
    producers: Sequence[Sequence[str]] | None = None,
    most: int = AUTO_MULTIPLES[-1],
) -> np.ndarray:
    """The width granularity of each group.

    Args:
        sizes: int `[groups]`.
        channel_multiple: int >= 1; or `"auto"`: the largest of 32, 16, 8, 4, 2 and 1
            that still leaves a group 8 widths to choose from (kernels of LiteRT work
            on tiles of 4 to 32 channels, but a narrow layer cannot pay for them); or a
            dict from regular expressions to those, for groups with a producer whose
            name matches, the first that does; `"auto"` where none does.
        producers: list `[groups]` of lists of layer names, for a dict.
        most: int, the largest multiple that `"auto"` takes; 1 is what it comes down to
            in a group where a budget would be left unused.

    Returns:
        int array `[groups]`.

    Raises:
        ValueError: for anything else, or an expression that matches nothing.
    """
    sizes = np.asarray(sizes)
    if isinstance(channel_multiple, dict):
        return _steps_by_name(sizes, channel_multiple, producers, most)
    if channel_multiple == "auto":
        steps = np.ones(len(sizes), int)
        for multiple in AUTO_MULTIPLES:
            if multiple <= most:
                steps[sizes >= AUTO_STEPS * multiple] = multiple
        return steps
    if (
        isinstance(channel_multiple, bool)
        or not isinstance(channel_multiple, (int, np.integer))
        or channel_multiple < 1
    ):
        raise ValueError(
            "Expected channel_multiple as a whole number of at least 1, 'auto', or a "
            "dict from regular expressions for layer names to those. "
            f"Received: channel_multiple={channel_multiple!r}"
        )
    return np.full(len(sizes), int(channel_multiple))


def _steps_by_name(
    sizes: np.ndarray,
    multiples: Mapping[str, int | str],
    producers: Any,
    most: int,
) -> np.ndarray:
    steps = width_steps(sizes, "auto", most=most)
    open_groups = np.ones(len(sizes), bool)
    for pattern, multiple in multiples.items():
        try:
            found = [any(re.search(pattern, n) for n in names) for names in producers]
        except (re.error, TypeError) as error:
            raise ValueError(
                "Expected regular expressions as keys of channel_multiple. "
                f"Received: {pattern!r} ({error})"
            ) from error
        if not any(found):
            names = [name for group in producers for name in group]
            raise ValueError(
                "Expected keys of channel_multiple that match a layer which makes "
                f"prunable channels: {names}. Received: {pattern!r}"
            )
        chosen = open_groups & found
        steps[chosen] = width_steps(sizes[chosen], multiple, most=most)
        open_groups &= ~chosen
    return steps


def minimum_widths(
    sizes: np.ndarray,
    steps: np.ndarray,
    min_channels: int,
    blocks: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """The fewest channels of each group: a multiple of its step or its size.

    Groups in `blocks`, a list of arrays of group indices, may lose all channels.
    """
    if (
        isinstance(min_channels, bool)
        or not isinstance(min_channels, (int, np.integer))
        or min_channels < 1
    ):
        raise ValueError(
            "Expected min_channels as a whole number of at least 1. "
            f"Received: min_channels={min_channels!r}"
        )
    sizes = np.asarray(sizes)
    up = -(-np.maximum(min_channels, 1) // steps) * steps
    smallest = np.minimum(up, sizes)
    for block in blocks:
        smallest[block] = 0
    return smallest


def fit_widths(
    ratios: np.ndarray,
    costs: Mapping[str, Cost],
    limits: Mapping[str, float],
    steps: np.ndarray,
    smallest: np.ndarray,
    blocks: Sequence[np.ndarray] = (),
    bottlenecks: np.ndarray | bool = False,
    largest: np.ndarray | None = None,
    finest: np.ndarray | None = None,
) -> np.ndarray:
    """Rounds ratios to whole widths that keep all budgets and use them up.

    First all ratios are rounded at one common scale: widths down, but those of narrow
    bottlenecks up. What a layer drops that everything passes through is gone, while a
    narrow layer beside a skip path costs little; and a search, short as it is, does not
    see the difference: it shows after long training only.

    From there, exchanges between groups raise what all widths are worth (see `Worth`),
    until none helps and no group can take one step more.

    Args:
        ratios: float `[groups]`, what the loss asks for.
        costs: dict, resource -> `CostFunction`.
        limits: dict, resource -> share of the dense cost in (0, 1].
        steps: int `[groups]`, widths are multiples of it (or the full size).
        smallest: int `[groups]`; must be feasible.
        blocks: list of int arrays, groups that can only lose all their channels
            together.
        bottlenecks: bool `[groups]`, or one bool for all.
        largest: int `[groups]`, the most channels, or None: all.
        finest: int `[groups]`, what the steps of single groups may come down to where a
            budget is left unused; None: they do not.

    Returns:
        int `[groups]`: widths in proportion to the ratios as far as the budget
        allows; no group can grow by one more step without breaking it.
    """
    sizes = next(iter(costs.values())).sizes
    largest = sizes if largest is None else largest
    finest = steps if finest is None else finest
    used_costs = [costs[name] for name in limits]
    allowed = [share * costs[name].dense for name, share in limits.items()]
    ratios = np.maximum(np.asarray(ratios, np.float64), 1e-6)
    first = np.maximum(finest, np.minimum(steps, LEAST_MULTIPLE))

    def fits(widths: np.ndarray) -> bool:
        return all(c.total(widths) <= a for c, a in zip(used_costs, allowed))

    def at(scale: float) -> np.ndarray:
        wanted = np.minimum(ratios * scale, 1.0) * sizes
        up = np.ceil((wanted - 1e-6) / first) * first
        narrow = np.logical_and(bottlenecks, wanted < NARROW)
        widths = np.where(narrow, up, (wanted + 1e-6) // steps * steps)
        widths = np.where(wanted > sizes - 1e-6, sizes, widths)
        widths = np.clip(widths, smallest, largest).astype(int)
        for block in blocks:
            # A block of several groups stays while it has a step of them on average.
            open_ = np.log((wanted[block] + 1e-6) / first[block]).mean() >= 0
            least = np.minimum(first, sizes)[block]
            widths[block] = np.maximum(widths[block], least) if open_ else 0
        return widths

    start = at(largest_scale(lambda scale: fits(at(scale)), 1e-6, 1.0 / ratios.min()))
    if not fits(start):  # what rounds up may not, at no scale
        start = smallest.copy()
    worth = Worth.of_ratios(ratios, used_costs, np.array([*limits.values()]), steps)
    held = np.logical_and(bottlenecks, worth.wanted < NARROW)
    least = np.ceil(LEAST_LEFT * worth.wanted / steps - 1e-6) * steps
    lower = np.where(held, start, np.clip(least, np.minimum(smallest, start), start))
    for block in blocks:
        if not start[block].all():
            lower[block] = 0

    def exchange(steps: np.ndarray) -> WidthExchange:
        return WidthExchange(
            worth, used_costs, allowed, steps, lower.astype(int), largest, blocks
        )

    found = exchange(steps)
    widths = found.best(start)
    while found.used(widths) < ENOUGH and (steps > finest).any():
        steps = np.maximum(steps // 2, finest)
        found = exchange(steps)
        widths = _few_steps(found, widths)
        if found.used(widths) < ENOUGH:
            widths = found.best(widths)
    return widths


def _few_steps(exchange: WidthExchange, widths: np.ndarray) -> np.ndarray:
    """Widens as few groups as use enough of the budget, by a finer step each."""
    while exchange.used(widths) < ENOUGH:
        wider = exchange.step_up(widths, per_cost=False)
        if wider is None:
            break
        widths = wider
    return widths


def choose_units(
    importance: np.ndarray, groups: Sequence[Group], widths: np.ndarray
) -> np.ndarray:
    """Keeps the most important units of each group.

    Args:
        importance: float `[num_units + 1]`.
        groups: list of `Group`s.
        widths: int `[groups]`.

    Returns:
        bool `[num_units + 1]`; unit 0 is always kept.
    """
    keep = np.zeros(len(importance), bool)
    keep[0] = True
    for group, width in zip(groups, widths):
        order = np.argsort(-importance[group.units], kind="stable")
        keep[group.units[order[:width]]] = True
    return keep
