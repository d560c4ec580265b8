"""Plain-text tables of a compression."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tf_lossprune.tables.figures import common, comparison

_BAR = 24


def comparison_table(dense: Mapping[str, Any], compact: Mapping[str, Any]) -> str:
    """Dense and compact network side by side.

    Args:
        dense: Dict of figures, such as `accuracy` and other metrics, `macs`, `params`,
            `tflite_bytes`, `peak_memory_bytes`, `arena_bytes` and `latency_ms`.
        compact: Dict with figures of the compact network.

    Returns:
        A table of the figures that both have; the last column is compact / dense for
        costs, and the difference for metrics, in percentage points for shares.

    Raises:
        TypeError: If an argument is not a dict.
        ValueError: If the dicts have no figures in common.

    Example:
        >>> print(comparison_table({"macs": 2000}, {"macs": 1000}))
                dense    compact    compact / dense
        MACs      2 k        1 k             0.500×
    """
    for name, figures in (("dense", dense), ("compact", compact)):
        if not isinstance(figures, Mapping):
            raise TypeError(
                f"Expected {name} as a dict of figures. Received: {figures!r}"
            )
    rows = comparison_rows(dense, compact)
    if len(rows) == 1:
        raise ValueError(
            "Expected dense and compact with figures in common, such as "
            "'accuracy' or 'macs'. "
            f"Received: {sorted(dense)} and {sorted(compact)}"
        )
    return aligned(rows)


def ratio_table(groups: Iterable[Mapping[str, Any]]) -> str:
    """The keep ratio of every group, in the order given, with a bar.

    Args:
        groups: Iterable of dicts with `name`, `kept`, `total` and, optionally,
            `ratio` (kept / total by default), as in `CompressionResult.groups`.

    Returns:
        A table of one line per group.

    Raises:
        TypeError: If a group is not a dict.
        ValueError: If there is no group or one lacks an entry.

    Example:
        >>> print(ratio_table([{"name": "stem", "kept": 4, "total": 16}]))
        group    kept    ratio
        stem     4/16    0.250    ######
    """
    return aligned(ratio_rows(groups), left=(0, 3))


def comparison_rows(
    dense: Mapping[str, Any], compact: Mapping[str, Any]
) -> list[tuple[str, ...]]:
    """The rows of `comparison_table`, the head first."""
    rows = [comparison(name, dense, compact) for name in common(dense, compact)]
    return [("", "dense", "compact", "compact / dense"), *rows]


def ratio_rows(groups: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of `ratio_table`, the head first."""
    rows: list[tuple[str, ...]] = [("group", "kept", "ratio", "")]
    for name, kept, total, ratio in read_groups(groups):
        bar = "#" * max(1, round(_BAR * ratio)) if kept else ""
        rows.append((name, f"{kept}/{total}", f"{ratio:.3f}", bar))
    return rows


def read_groups(
    groups: Iterable[Mapping[str, Any]],
) -> list[tuple[str, int, int, float]]:
    """Checks and unpacks groups as `ratio_table` and `plot_ratios` take them.

    Args:
        groups: Iterable of dicts; see `ratio_table`.

    Returns:
        List of `(name, kept, total, ratio)`.

    Raises:
        TypeError: If a group is not a dict.
        ValueError: If there is no group or one lacks an entry.
    """
    if isinstance(groups, (str, Mapping)):
        raise TypeError(f"Expected groups as a list of dicts. Received: {groups!r}")
    rows = []
    for group in groups:
        if not isinstance(group, Mapping):
            raise TypeError(f"Expected groups as dicts. Received: {group!r}")
        missing = {"name", "kept", "total"} - set(group)
        if missing or group["total"] < 1:
            raise ValueError(
                "Expected groups with a name, a number of kept channels and a positive "
                f"total. Received: {group!r}"
            )
        kept, total = int(group["kept"]), int(group["total"])
        rows.append(
            (str(group["name"]), kept, total, float(group.get("ratio", kept / total)))
        )
    if not rows:
        raise ValueError("Expected at least one group. Received: []")
    return rows


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("    ".join(cells).rstrip())
    return "\n".join(lines)
