"""The classes of a report, as texts for its templates."""

from collections.abc import Mapping
from typing import Any

#: Of more classes, those that lost the most are shown.
SHOWN = 20


def class_tables(classes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the page shows of the classes.

    Args:
        classes: dict as `class_figures` returns it, or None.

    Returns:
        A dict with `rows`, `left_out` (how many classes are not shown) and
        `confusion`, rows of `(name, cells)`, cells `(percent, text, right)`; or None.
    """
    if not classes or not classes.get("names"):
        return None
    entries = [*zip(*(classes[k] for k in ("names", "count", "dense", "compact")))]
    shares = [
        (str(name), count, before / count, after / count)
        for name, count, before, after in entries
        if count
    ]
    shown = shares
    if len(shares) > SHOWN:
        shown = sorted(shares, key=lambda entry: entry[3] - entry[2])[:SHOWN]
    return {
        "rows": [
            (
                name,
                f"{count:,}",
                f"{100 * before:.1f} %",
                f"{100 * after:.1f} %",
                f"{100 * (after - before):+.1f}",
            )
            for name, count, before, after in shown
        ],
        "left_out": len(shares) - len(shown),
        "confusion": _confusion(classes),
    }


def _confusion(classes: Mapping[str, Any]) -> list[tuple[str, list]] | None:
    matrix = classes.get("confusion")
    if not matrix:
        return None
    rows = []
    for index, (name, counts) in enumerate(zip(classes["names"], matrix)):
        whole = sum(counts) or 1
        cells = [
            (round(100 * n / whole), f"{100 * n / whole:.0f}" if n else "", k == index)
            for k, n in enumerate(counts)
        ]
        rows.append((str(name), cells))
    return rows
