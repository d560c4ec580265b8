"""The charts over training, from what was recorded while it ran."""

from collections.abc import Callable, Mapping
from typing import Any

from tf_lossprune.report.geometry import Series, line_chart
from tf_lossprune.tables.figures import heading, is_number, is_share, scaled, title_of

_PARTS = (("search", "search"), ("fine_tune", "fine-tuning"))


def charts(report: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Pairs of a title and a chart: resources, share metrics, loss.

    Args:
        report: dict as in report.json. Its `"training"` is a list of points, dicts
            with `step`, `part` and what was logged; without it, the epochs of
            `"history"` are drawn.
    """
    points = report.get("training") or _from_history(report.get("history") or {})
    if not points:
        return []
    per_epoch = report.get("steps_per_epoch") or 1
    points = [{**point, "x": point["step"] / per_epoch} for point in points]
    last = max(point["x"] for point in points)
    axis = {"x_label": "epochs", "bands": _bands(points), "x_range": (0.0, last)}
    found = [("Resources", _resources(report, points, axis))]
    names = {n for p in points for n, v in p.items() if is_number(v)}
    shares = sorted(n for n in names if is_share(n) and not n.startswith("val_"))
    if not shares and any(is_share(n) for n in names):
        shares = sorted({n.removeprefix("val_") for n in names if is_share(n)})
    for name in [*shares[:1], "loss"]:
        found.append((heading(name), _metric(name, points, axis)))
    return [(title, chart) for title, chart in found if chart]


def in_percent(name: str, value: Any) -> Any:
    """A figure as charts show it: shares in percent."""
    return 100 * value if is_share(name) and is_number(value) else value


def axis_text(name: str) -> Callable[[float], str]:
    """Function from a value on a figure's axis to its text."""
    if is_share(name):
        return "{:g} %".format
    return lambda value: scaled(value) if value >= 1000 else f"{value:g}"


def _from_history(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One point for each epoch of a Keras history."""
    points, done = [], 0
    for part, _ in _PARTS:
        values = {k: v for k, v in (history.get(part) or {}).items() if v}
        epochs = max(map(len, values.values()), default=0)
        for epoch in range(epochs):
            logs = {k: v[epoch] for k, v in values.items() if epoch < len(v)}
            points.append({"step": done + epoch + 1, "part": part, **logs})
        done += epochs
    return points


def _bands(points: list[dict[str, Any]]) -> list[tuple[float, float, str]]:
    found, start = [], 0.0
    for part, label in _PARTS:
        own = [p["x"] for p in points if p.get("part") == part]
        if own:
            found.append((start, max(own), label))
            start = max(own)
    return found if len(found) > 1 else []


def _resources(
    report: Mapping[str, Any], points: list[dict[str, Any]], axis: dict[str, Any]
) -> dict[str, Any] | None:
    """Shares of the budgeted resources: expected while searching, then counted."""
    series, last = [], axis["x_range"][1]
    limits = {entry["resource"]: entry for entry in report.get("limits") or []}
    for color, name in enumerate(report.get("budget") or {}):
        curve = [(p["x"], 100 * p[name]) for p in points if is_number(p.get(name))]
        if not curve:
            continue
        # Warm-up and the start: the whole network.
        curve = [(0.0, 100.0), *curve]
        limit = limits.get(name, {})
        reached, allowed = (
            100 * limit[key] / limit["dense"]
            if is_number(limit.get(key)) and limit.get("dense")
            else None
            for key in ("reached", "allowed")
        )
        if reached is not None:
            curve = _until_cut(curve, reached)
            curve += [(curve[-1][0], reached), (last, reached)]
        series.append(Series(title_of(name), curve, color=color))
        if allowed is not None:
            level = min(100.0, allowed)
            ends = [(0.0, level), (last, level)]
            label = f"budget on {title_of(name)}"
            series.append(Series(label, ends, "dashed", color))
    return line_chart(
        "Budgeted resources over training, in percent of the dense network",
        series,
        y_text="{:g} %".format,
        y_range=(0.0, 100.0),
        **axis,
    )


def _until_cut(curve: list, reached: Any) -> list:
    """Leaves out what a search went on to, for tighter budgets than this network's."""
    if curve[-1][1] >= reached - 2.0:
        return curve
    return curve[: 1 + next(i for i, (_, share) in enumerate(curve) if share < reached)]


def _metric(
    name: str, points: list[dict[str, Any]], axis: dict[str, Any]
) -> dict[str, Any] | None:
    series = [
        Series(
            label,
            [(p["x"], in_percent(key, p[key])) for p in points if key in p],
            style,
        )
        for key, label, style in (
            (name, "training", "line"),
            (f"val_{name}", "validation", "dots"),
        )
    ]
    title = f"{title_of(name)} over training"
    return line_chart(title, series, y_text=axis_text(name), **axis)
