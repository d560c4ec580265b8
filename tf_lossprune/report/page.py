"""What the HTML report shows, as texts and places for its templates."""

from collections.abc import Mapping, Sequence
from typing import Any

from tf_lossprune.report.class_tables import class_tables
from tf_lossprune.report.curves import charts
from tf_lossprune.report.frontier_chart import frontier_chart
from tf_lossprune.report.geometry import network_profile
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
    uniform = report.get("uniform") or {}
    return {
        "title": title or report.get("name") or "Compression report",
        "facts": facts(
            ("budget: ", budget_text(report.get("budget"))),
            ("method: ", report.get("method")),
            ("", report.get("created")),
        ),
        "verdict": verdict(report),
        "tiles": _tiles(dense, compact),
        "figures": _figures(report),
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
        "groups": [_group(group, uniform.get("widths") or {}) for group in groups],
        "beside": _beside(report),
        "ticks": bool(uniform.get("widths")),
        "classes": class_tables(report.get("classes")),
        "layer_costs": _layer_costs(report.get("layer_costs") or []),
        "kept": f"{sum(group['kept'] for group in groups):,}",
        "total": f"{sum(group['total'] for group in groups):,}",
        "profile": network_profile(report.get("layers") or []),
        "charts": charts(report),
        "shared_training": report.get("shared_training", False),
        "frontier": frontier_chart(dense, report.get("frontier") or [], compact),
        "frozen": [(f["layer"], f["reason"]) for f in report.get("frozen") or []],
        "details": details(report),
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


def facts(*found: tuple[str, Any]) -> list[str]:
    """What stands below a heading: of pairs of a name and a value, those with one."""
    return [f"{name}{value}" for name, value in found if value]


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


def _figures(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of the table of both networks."""
    dense, compact = report["dense"], report["compact"]
    rows = []
    for name in common(dense, compact):
        title, *texts = comparison(name, dense, compact)
        place = where(report) if name == "latency_ms" else ""
        rows.append((f"{title}{place}", *texts))
    return rows


def _beside(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Our figures and those of uniform widths under the same budget."""
    compact, uniform = report["compact"], report.get("uniform") or {}
    return [
        (title_of(name), text_of(name, compact[name]), text_of(name, uniform[name]))
        for name in common(compact, uniform)
    ]


def where(report: Mapping[str, Any]) -> str:
    """On what a time was measured."""
    threads, device = report.get("threads"), report.get("device")
    texts = [str(device)] if device else []
    if threads:
        texts.append(f"{threads} thread{'s' if threads != 1 else ''}")
    return f" ({', '.join(texts)})" if texts else ""


def _layer_costs(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What each layer costs, before and after."""
    names = dict.fromkeys(name for la in layers for name in la if name != "name")
    if not names:
        return None
    rows = []
    for layer in layers:
        row = [layer["name"]]
        for name in names:
            before, after = layer.get(name) or (None, None)
            row.append(f"{text_of(name, before)} → {text_of(name, after)}")
        rows.append(row)
    return {"head": ["", *map(title_of, names)], "rows": rows}


def _group(group: Mapping[str, Any], uniform: Mapping[str, int]) -> dict[str, Any]:
    percent = 100 * group["kept"] / max(group["total"], 1)
    even = uniform.get(group["name"])
    return {
        "uniform": None if even is None else round(100 * even / group["total"], 2),
        "name": group["name"],
        "percent": round(percent, 2),
        "count": f"{group['kept']} / {group['total']} ({percent:.0f} %)",
        "layers": [(role, group[key]) for role, key in _ROLES if group.get(key)],
    }


def details(report: Mapping[str, Any]) -> list:
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
