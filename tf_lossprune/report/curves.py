"""The charts over training, from what was recorded while it ran."""

from tf_lossprune.report.figures import is_number, is_share, title_of
from tf_lossprune.report.svg import line_chart

_PARTS = (("search", "search"), ("fine_tune", "fine-tuning"))


def charts(report):
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
    bands = _bands(points)
    found = [("Resources", _resources(report, points, bands))]
    names = {n for p in points for n, v in p.items() if is_number(v)}
    shares = sorted(n for n in names if is_share(n) and not n.startswith("val_"))
    if not shares and any(is_share(n) for n in names):
        shares = sorted({n.removeprefix("val_") for n in names if is_share(n)})
    for name in [*shares[:1], "loss"]:
        found.append((title_of(name).capitalize(), _metric(name, points, bands)))
    return [(title, chart) for title, chart in found if chart]


def _from_history(history):
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


def _bands(points):
    found, start = [], 0.0
    for part, label in _PARTS:
        own = [p["x"] for p in points if p.get("part") == part]
        if own:
            found.append((start, max(own), label))
            start = max(own)
    return found[::2] if len(found) > 1 else []  # every other one is shaded


def _resources(report, points, bands):
    """Shares of the budgeted resources: expected while searching, then counted."""
    series, last = [], max(p["x"] for p in points)
    limits = {e["resource"]: e for e in report.get("limits") or []}
    for color, name in enumerate(report.get("budget") or {}):
        curve = [(p["x"], _percent(p.get(name))) for p in points if name in p]
        if not curve:
            continue
        limit = limits.get(name, {})
        # Warm-up and the start: the whole network.
        curve = [(0.0, 100.0), *curve]
        if is_number(limit.get("reached")) and limit.get("dense"):
            reached = 100 * limit["reached"] / limit["dense"]
            curve += [(curve[-1][0], reached), (last, reached)]
        series.append({"label": title_of(name), "points": curve, "color": color})
        if is_number(limit.get("allowed")) and limit.get("dense"):
            level = min(100.0, 100 * limit["allowed"] / limit["dense"])
            series.append(
                {
                    "label": f"budget on {title_of(name)}",
                    "points": [(0.0, level), (last, level)],
                    "style": "dashed",
                    "color": color,
                }
            )
    return line_chart(
        "Budgeted resources over training, in percent of the dense network",
        series,
        x_label="epochs",
        y_text=lambda v: f"{v:g} %",
        bands=bands,
        x_range=(0.0, last),
        y_range=(0.0, 100.0),
    )


def _metric(name, points, bands):
    scale = _percent if is_share(name) else (lambda value: value)
    validation = f"val_{name}"
    series = [
        {
            "label": "training",
            "points": [(p["x"], scale(p[name])) for p in points if name in p],
        },
        {
            "label": "validation",
            "points": [
                (p["x"], scale(p[validation])) for p in points if validation in p
            ],
            "style": "dots",
        },
    ]
    text = (lambda v: f"{v:g} %") if is_share(name) else (lambda v: f"{v:g}")
    return line_chart(
        f"{title_of(name)} over training",
        series,
        x_label="epochs",
        y_text=text,
        bands=bands,
        x_range=(0.0, max(p["x"] for p in points)),
    )


def _percent(value):
    return 100 * value if is_number(value) else None
