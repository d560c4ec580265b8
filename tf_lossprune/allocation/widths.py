"""Whole widths which keep every budget, and which use it."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_lossprune.graph import Group
from tf_lossprune.types import Cost, Multiple

#: Fewest width steps a group should have before "auto" takes a larger multiple.
AUTO_STEPS = 8
#: Channels by which a group is widened at once where more may cost less.
FARTHEST = 16
#: Bottlenecks of fewer channels round up.
NARROW = 4


def width_steps(
    sizes: np.ndarray,
    channel_multiple: Multiple,
    producers: Sequence[Sequence[str]] | None = None,
) -> np.ndarray:
    """The width granularity of each group.

    Args:
        sizes: int `[groups]`.
        channel_multiple: int >= 1; or `"auto"`: the largest of 8, 4, 2 and 1 that
            still leaves a group 8 widths to choose from (kernels of LiteRT work on
            tiles of 4 or 8 channels, but a narrow layer cannot pay for them); or a
            dict from regular expressions to those, for groups with a producer whose
            name matches, the first that does; `"auto"` where none does.
        producers: list `[groups]` of lists of layer names, for a dict.

    Returns:
        int array `[groups]`.

    Raises:
        ValueError: for anything else, or an expression that matches nothing.
    """
    sizes = np.asarray(sizes)
    if isinstance(channel_multiple, dict):
        return _steps_by_name(sizes, channel_multiple, producers)
    if channel_multiple == "auto":
        steps = np.ones(len(sizes), int)
        for multiple in (2, 4, 8):
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
) -> np.ndarray:
    steps = width_steps(sizes, "auto")
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
        steps[chosen] = width_steps(sizes[chosen], multiple)
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
) -> np.ndarray:
    """Rounds ratios to whole widths that keep all budgets and use them up.

    Widths round down, but those of narrow bottlenecks up. What a layer drops that
    everything passes through is gone, while a narrow layer beside a skip path costs
    little; and a search, short as it is, does not see the difference: it shows after
    long training only.

    Args:
        ratios: float `[groups]`, what the loss asks for.
        costs: dict, resource -> `CostModel`.
        limits: dict, resource -> share of the dense cost in (0, 1].
        steps: int `[groups]`, widths are multiples of it (or the full size).
        smallest: int `[groups]`; must be feasible.
        blocks: list of int arrays, groups that can only lose all their channels
            together.
        bottlenecks: bool `[groups]`, or one bool for all.
        largest: int `[groups]`, the most channels, or None: all.

    Returns:
        int `[groups]`: widths in proportion to the ratios as far as the budget
        allows; no group can grow by one more step without breaking it.
    """
    any_cost = next(iter(costs.values()))
    sizes = any_cost.sizes
    largest = sizes if largest is None else largest
    allowed = {name: share * costs[name].dense for name, share in limits.items()}
    ratios = np.maximum(np.asarray(ratios, np.float64), 1e-6)

    def fits(widths: np.ndarray) -> bool:
        return all(costs[n].total(widths) <= allowed[n] for n in allowed)

    def at(scale: float) -> np.ndarray:
        wanted = np.minimum(ratios * scale, 1.0) * sizes
        up = np.ceil((wanted - 1e-6) / steps)
        narrow = np.logical_and(bottlenecks, wanted < NARROW)
        widths = np.where(narrow, up, (wanted + 1e-6) // steps) * steps
        widths = np.where(wanted > sizes - 1e-6, sizes, widths)
        widths = np.clip(widths, smallest, largest).astype(int)
        for block in blocks:
            if not widths[block].all():
                widths[block] = 0
        return widths

    scale = largest_scale(lambda scale: fits(at(scale)), 1e-6, 1.0 / ratios.min())
    monotone = all(costs[name].monotone for name in limits)
    reach = np.ones_like(steps) if monotone else -(-FARTHEST // steps)
    wanted = ratios * sizes
    return _grow(at(scale), wanted, largest, steps, fits, blocks, reach)


def largest_scale(fits: Callable[[float], bool], low: float, high: float) -> float:
    """The largest common factor of all ratios whose widths keep the budgets.

    Args:
        fits: function of a factor that says whether they do.
        low, high: floats above 0; `low` must fit.
    """
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _grow(
    widths: np.ndarray,
    wanted: np.ndarray,
    sizes: np.ndarray,
    steps: np.ndarray,
    fits: Callable[[np.ndarray], bool],
    blocks: Sequence[np.ndarray],
    reach: np.ndarray,
) -> np.ndarray:
    """Adds single steps where a group is furthest below what is wanted, as they fit.

    Of a group, up to `reach[k]` steps are tried at once: more may cost less.
    """
    widths = widths.copy()
    open_groups = set(np.flatnonzero(widths < sizes))
    partners = {k: block for block in blocks for k in block}
    while open_groups:
        order = sorted(open_groups, key=lambda k: widths[k] / wanted[k])
        for k in map(int, order):
            larger = _next_width(k, widths, sizes, steps, fits, partners, reach[k])
            if larger is not None:
                widths = larger
                if widths[k] >= sizes[k]:
                    open_groups.discard(k)
                break
            open_groups.discard(k)  # it will not fit later, as others only grow
        else:
            break
    return widths


def _next_width(
    k: int,
    widths: np.ndarray,
    sizes: np.ndarray,
    steps: np.ndarray,
    fits: Callable[[np.ndarray], bool],
    partners: Any,
    reach: np.ndarray,
) -> np.ndarray | None:
    more = [k] if widths[k] else partners.get(k, [k])
    for count in range(1, reach + 1):
        larger = widths.copy()
        larger[more] = np.minimum(
            (widths[more] // steps[more] + count) * steps[more], sizes[more]
        )
        if fits(larger):
            return larger
        if (larger[more] == sizes[more]).all():
            break
    return None


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
