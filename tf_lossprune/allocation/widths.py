"""Whole widths which keep every budget, and which use it."""

import math

import numpy as np

#: Fewest width steps a group should have before "auto" takes a larger multiple.
AUTO_STEPS = 8


def width_steps(sizes, channel_multiple):
    """The width granularity of each group.

    Args:
        sizes: int `[groups]`.
        channel_multiple: int >= 1; or `"auto"`: the largest of 8, 4, 2 and 1 that
            still leaves a group 8 widths to choose from (kernels of LiteRT work on
            tiles of 4 or 8 channels, but a narrow layer cannot pay for them).

    Returns:
        int array `[groups]`.

    Raises:
        ValueError: for anything else.
    """
    sizes = np.asarray(sizes)
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
            "Expected channel_multiple as a whole number of at least 1 or 'auto'. "
            f"Received: channel_multiple={channel_multiple!r}"
        )
    return np.full(len(sizes), int(channel_multiple))


def minimum_widths(sizes, steps, min_channels, blocks=()):
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


def fit_widths(ratios, costs, limits, steps, smallest, blocks=()):
    """Rounds ratios to whole widths that keep all budgets and use them up.

    Args:
        ratios: float `[groups]`, what the loss asks for.
        costs: dict, resource -> `CostModel`.
        limits: dict, resource -> share of the dense cost in (0, 1].
        steps: int `[groups]`, widths are multiples of it (or the full size).
        smallest: int `[groups]`; must be feasible.
        blocks: list of int arrays, groups that can only lose all their channels
            together.

    Returns:
        int `[groups]`: widths in proportion to the ratios as far as the budget
        allows; no group can grow by one more step without breaking it.
    """
    any_cost = next(iter(costs.values()))
    sizes = any_cost.sizes
    allowed = {name: share * costs[name].dense for name, share in limits.items()}
    ratios = np.maximum(np.asarray(ratios, np.float64), 1e-6)

    def fits(widths):
        return all(costs[n].total(widths) <= allowed[n] for n in allowed)

    def at(scale):
        wanted = np.minimum(ratios * scale, 1.0) * sizes
        widths = (wanted + 1e-6) // steps * steps
        widths = np.where(wanted > sizes - 1e-6, sizes, widths)
        widths = np.clip(widths, smallest, sizes).astype(int)
        for block in blocks:
            if not widths[block].all():
                widths[block] = 0
        return widths

    # The largest common scale whose rounded-down widths keep the budgets.
    low, high = 1e-6, 1.0 / ratios.min()
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(at(middle)) else (low, middle)
    return _grow(at(low), ratios, sizes, steps, fits, blocks)


def _grow(widths, ratios, sizes, steps, fits, blocks):
    """Adds single steps where a group is furthest below its ratio, while they fit."""
    widths = widths.copy()
    open_groups = set(np.flatnonzero(widths < sizes))
    partners = {k: block for block in blocks for k in block}
    while open_groups:
        order = sorted(open_groups, key=lambda k: widths[k] / (ratios[k] * sizes[k]))
        for k in order:
            larger = widths.copy()
            more = [k] if widths[k] else partners.get(k, [k])
            larger[more] = np.minimum(
                (widths[more] // steps[more] + 1) * steps[more], sizes[more]
            )
            if fits(larger):
                widths = larger
                if widths[k] >= sizes[k]:
                    open_groups.discard(k)
                break
            open_groups.discard(k)  # costs only grow: it will not fit later
        else:
            break
    return widths


def choose_units(importance, groups, widths):
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
