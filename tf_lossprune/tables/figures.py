"""How the figures of a network are named, written and compared."""

import math
from collections.abc import Mapping
from typing import Any

#: Names of metrics that are shares, best at 1.
_SHARES = ("accuracy", "acc", "auc", "precision", "recall", "iou", "f1", "dice")
_TITLES = {
    "macs": "MACs",
    "params": "parameters",
    "tflite_bytes": ".tflite file",
    "size_bytes": ".tflite file",
    "peak_memory_bytes": "peak memory",
    "arena_bytes": "arena",
    "latency_ms": "time per sample",
}
COSTS = tuple(name for name in _TITLES if name != "size_bytes")
_PREFIXES = (("G", 1e9), ("M", 1e6), ("k", 1e3))


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def is_share(name: str) -> bool:
    """Whether a metric's name says that it lies between 0 and 1, best at 1."""
    return any(part in _SHARES for part in name.lower().split("_"))


def title_of(name: str) -> str:
    """What a figure is called in a report."""
    return _TITLES.get(name, name.replace("_", " "))


def heading(name: str) -> str:
    """What a figure is called at the beginning of a line."""
    return title_of(name)[:1].upper() + title_of(name)[1:]


def figure_of(resource: str) -> str:
    """Which figure of a network a budget on a resource is held against."""
    return "tflite_bytes" if resource == "size_bytes" else resource


def text_of(name: str, value: Any) -> str:
    """A figure with its unit.

    Args:
        name: string, the figure.
        value: number.

    Example:
        >>> text_of("tflite_bytes", 51_200)
        '51.2 kB'
    """
    if not is_number(value):
        return "-"
    if is_share(name) and 0 <= value <= 1:
        return f"{100 * value:.2f} %"
    if name.endswith("bytes"):
        return scaled(value, ",.1f", "B") if value >= 1e3 else f"{value:,.0f} B"
    if name.endswith("_ms"):
        return f"{value:.3f} ms"
    return scaled(value) if name in COSTS else f"{value:.4g}"


def scaled(count: Any, digits: str = ".4g", unit: str = "") -> str:
    """A count with four digits and a decimal prefix: 40.81 M."""
    for prefix, size in _PREFIXES:
        if count >= size:
            return f"{count / size:{digits}} {prefix}{unit}"
    return f"{count:,}"


def limit_text(limit: Any) -> str:
    """What a budget says of a resource: a share, a number of its unit, or a text."""
    if not is_number(limit):
        return str(limit)
    return f"{100 * limit:g} %" if limit <= 1 else f"{limit:,}"


def budget_text(budget: Mapping[str, Any] | None) -> str:
    """A budget in one line.

    Args:
        budget: dict, resource -> limit, or None.
    """
    limits = (budget or {}).items()
    return ", ".join(f"{title_of(name)} {limit_text(v)}" for name, v in limits)


def change_of(name: str, before: Any, after: Any) -> str:
    """What became of a figure: a ratio for costs, a difference for the rest.

    Args:
        name: string, the figure.
        before, after: numbers.

    Returns:
        A string.
    """
    if not (is_number(before) and is_number(after)):
        return "-"
    if name in COSTS or name.endswith(("_bytes", "_ms")):
        return f"{after / before:.3f}×" if before else "-"
    if is_share(name):
        return f"{100 * (after - before):+.2f} points"
    return f"{after - before:+.4g}"


def comparison(
    name: str, dense: Mapping[str, Any], compact: Mapping[str, Any]
) -> tuple[str, str, str, str]:
    """One figure of both networks: `(title, before, after, change)`, texts."""
    before, after = dense[name], compact[name]
    texts = text_of(name, before), text_of(name, after)
    return title_of(name), *texts, change_of(name, before, after)


def common(dense: Mapping[str, Any], compact: Mapping[str, Any]) -> list[str]:
    """Names of the figures that both networks have: metrics, then costs.

    Args:
        dense, compact: dicts, name -> number.
    """
    names = [n for n in dense if is_number(dense[n]) and is_number(compact.get(n))]
    metrics = [n for n in names if n not in COSTS]
    metrics.sort(key=lambda name: not is_share(name))
    return metrics + [name for name in COSTS if name in names]
