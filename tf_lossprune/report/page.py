"""What the HTML report shows, as texts and places for its templates."""

from collections.abc import Mapping
from typing import Any

from tf_lossprune.report.curves import axis_text, charts, in_percent
from tf_lossprune.report.geometry import Series, line_chart, network_profile
from tf_lossprune.tables.figures import (
    COSTS,
    budget_text,
    change_of,
    common,
    comparison,
    figure_of,
    heading,
    is_number,
    is_share,
    text_of,
    title_of,
)

_TILE_COSTS = ("macs", "params", "tflite_bytes", "latency_ms")
_ROLES = (
    ("made by", "producers"),
    ("pass through", "through"),
    ("read by", "consumers"),
)
_SETTINGS = (
    ("seed", "seed"),
    ("epochs", "epochs"),
    ("precision of the .tflite file", "precision"),
    ("data", "data"),
)


def contents(report: Mapping[str, Any], title: str | None = None) -> dict[str, Any]:
    """All that `report.html.j2` asks for.

    Args:
        report: dict as in report.json.
        title: heading, or None: the network's name.

    Returns:
        A dict.
    """
    dense, compact = report["dense"], report["compact"]
    groups = report.get("groups") or []
    return {
        "title": title or report.get("name") or "Compression report",
        "facts": _facts(report),
        "verdict": verdict(report),
        "tiles": _tiles(dense, compact),
        "figures": [
            comparison(name, dense, compact) for name in common(dense, compact)
        ],
        "limits": [
            (
                title_of(limit["resource"]),
                text_of(limit["resource"], limit.get("allowed")),
                text_of(limit["resource"], limit.get("reached")),
                {True: "met", False: "exceeded"}.get(limit.get("kept"), "-"),
            )
            for limit in report.get("limits") or []
        ],
        "learned": report.get("method", "loss") == "loss",
        "groups": [_group(group) for group in groups],
        "kept": f"{sum(group['kept'] for group in groups):,}",
        "total": f"{sum(group['total'] for group in groups):,}",
        "profile": network_profile(report.get("layers") or []),
        "charts": charts(report),
        "shared_training": report.get("shared_training", False),
        "frontier": _frontier(report),
        "frozen": [(f["layer"], f["reason"]) for f in report.get("frozen") or []],
        "details": _details(report),
    }


def verdict(report: Mapping[str, Any]) -> str:
    """What became of the network, in one sentence.

    Args:
        report: dict as in report.json.

    Returns:
        A string; empty if the networks have no figures in common.
    """
    dense, compact = report["dense"], report["compact"]
    names = common(dense, compact)
    metric = next((name for name in names if name not in COSTS), None)
    costs = [name for name in names if name in COSTS and dense[name]]
    budgeted = [figure_of(name) for name in report.get("budget") or {}]
    remains = " and ".join(
        f"{100 * compact[name] / dense[name]:.1f} % of the {title_of(name)}"
        for name in [name for name in costs if name in budgeted] or costs[:1]
    )
    if metric:
        _, before, after, change = comparison(metric, dense, compact)
        way = "rises" if compact[metric] > dense[metric] else "falls"
        change = f"{way} from {before} to {after} ({change})"
        change = f"stays at {before}" if before == after else change
        text = f"{heading(metric)} {change}"
        text += f" at {remains}" if remains else ""
    else:
        text = f"The compact network has {remains}"
    if not (metric or remains):
        return ""
    kept = {e["resource"]: e.get("kept") for e in report.get("limits") or []}
    over = [title_of(name) for name, value in kept.items() if value is False]
    if over:
        text += f"; the budget on {' and '.join(over)} is exceeded"
    elif kept and all(kept.values()):
        text += "; the budget is met"
    return f"{text}."


def _facts(report: Mapping[str, Any]) -> list[str]:
    facts = (
        ("budget: ", budget_text(report.get("budget"))),
        ("method: ", report.get("method")),
        ("", report.get("created")),
    )
    return [f"{name}{value}" for name, value in facts if value]


def _tiles(dense: Mapping[str, Any], compact: Mapping[str, Any]) -> list:
    """The figures that people look for first."""
    found = []
    for name in common(dense, compact):
        before, after = dense[name], compact[name]
        if is_share(name):
            texts = text_of(name, after), change_of(name, before, after)
        elif name in _TILE_COSTS and before:
            texts = f"{100 * after / before:.1f} %", f"of {text_of(name, before)}"
        else:
            continue
        found.append((title_of(name), *texts))
    return found[:6]


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    percent = 100 * group["kept"] / max(group["total"], 1)
    return {
        "name": group["name"],
        "percent": round(percent, 2),
        "count": f"{group['kept']} / {group['total']} ({percent:.0f} %)",
        "layers": [(role, group[key]) for role, key in _ROLES if group.get(key)],
    }


def _frontier(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Several compact networks of one dense network, or None."""
    dense, compact = report["dense"], report["compact"]
    points = [
        point
        for point in report.get("frontier") or []
        if is_number(point["figures"].get("macs")) and point["figures"]["macs"] > 0
    ]
    if len(points) < 2 or not is_number(dense.get("macs")) or not dense["macs"]:
        return None
    names = common(dense, points[0]["figures"])
    metric = next((name for name in names if name not in COSTS), None)
    if metric is None:
        return None
    points.sort(key=lambda point: -point["figures"]["macs"])
    rows, places, own = [], [], []
    for point in points:
        macs, value = point["figures"]["macs"], point["figures"].get(metric)
        share = macs / dense["macs"]
        texts = text_of("macs", macs), f"{share:.3f}×", text_of(metric, value)
        rows.append((budget_text(point["budget"]), *texts))
        places.append((100 * share, in_percent(metric, value)))
        if (macs, value) == (compact.get("macs"), compact.get(metric)):
            own = places[-1:]
    level = in_percent(metric, dense[metric])
    ends = min(50.0, 0.8 * places[-1][0]), max(100.0, places[0][0])
    return {
        "metric": title_of(metric),
        "rows": rows,
        "chart": line_chart(
            f"{title_of(metric)} over the share of the MACs",
            [
                Series("compact networks", places, "dots", 0, notes=True),
                Series("the network of this page", own, "dots", 1),
                Series("dense network", [(x, level) for x in ends], "dashed", 2),
            ],
            x_label="MACs, % of the dense network",
            y_text=axis_text(metric),
            octaves=True,
        ),
    }


def _details(report: Mapping[str, Any]) -> list:
    """Settings, times and versions."""
    rows = [(t, report[key]) for t, key in _SETTINGS if report.get(key) is not None]
    seconds, versions = report.get("seconds") or {}, report.get("versions") or {}
    if seconds:
        times = (f"{k.replace('_', '-')} {_time(v)}" for k, v in seconds.items())
        rows.append(("time", ", ".join(times)))
    if versions:
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
    return rows


def _time(seconds: Any) -> str:
    if not is_number(seconds):
        return str(seconds)
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
