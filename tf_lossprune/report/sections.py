"""The sections of the HTML report."""

from tf_lossprune.report.curves import charts
from tf_lossprune.report.figures import (
    change_of,
    common,
    is_number,
    is_share,
    text_of,
    title_of,
)
from tf_lossprune.report.svg import escape, line_chart, network_profile

_TILE_FIGURES = ("macs", "params", "tflite_bytes", "latency_ms")


def header(report, title):
    """The heading, and how the network was made."""
    facts = []
    if report.get("budget"):
        limits = [f"{title_of(k)} {_limit(v)}" for k, v in report["budget"].items()]
        facts.append("budget: " + ", ".join(limits))
    if report.get("method"):
        facts.append(f"widths by: {report['method']}")
    if report.get("created"):
        facts.append(str(report["created"]))
    text = escape(" · ".join(facts))
    return f"<header><h1>{escape(title)}</h1><p>{text}</p></header>"


def tiles(report):
    """The figures that people look for first."""
    dense, compact = report["dense"], report["compact"]
    found = []
    for name in common(dense, compact):
        before, after = dense[name], compact[name]
        if is_share(name):
            value, note = text_of(name, after), change_of(name, before, after)
        elif name in _TILE_FIGURES and before:
            value, note = f"{100 * after / before:.1f} %", f"of {text_of(name, before)}"
        else:
            continue
        found.append(
            f'<div class="tile"><span>{escape(title_of(name))}</span>'
            f"<b>{escape(value)}</b><span>{escape(note)}</span></div>"
        )
    return f'<div class="tiles">{"".join(found[:6])}</div>' if found else ""


def comparison(report):
    """The table of the dense and the compact network, and what the budget allowed."""
    dense, compact = report["dense"], report["compact"]
    rows = [
        (
            title_of(name),
            text_of(name, dense[name]),
            text_of(name, compact[name]),
            change_of(name, dense[name], compact[name]),
        )
        for name in common(dense, compact)
    ]
    if not rows:
        return ""
    head = ("", "dense", "compact", "compact / dense")
    return _section("Before and after", _table(head, rows) + _limits(report))


def _limits(report):
    rows = []
    for limit in report.get("limits") or []:
        name, kept = limit["resource"], limit.get("kept")
        verdict = {True: "kept", False: "broken"}.get(kept, "-")
        kind = {True: "good", False: "bad"}.get(kept, "")
        rows.append(
            (
                title_of(name),
                text_of(name, limit.get("allowed")),
                text_of(name, limit.get("reached")),
                f'<b class="{kind}">{verdict}</b>',
            )
        )
    if not rows:
        return ""
    head = ("", "at most", "reached", "")
    return "<h3>Budget</h3>" + _table(head, rows, raw=(3,))


def widths(report):
    """What each group kept, along the network, and what is coupled."""
    groups = report.get("groups") or []
    if not groups:
        return ""
    kept, total = (sum(g[key] for g in groups) for key in ("kept", "total"))
    picture = network_profile(
        "Widths of the layers along the network, before and after",
        report.get("layers") or [],
    )
    if picture:
        picture = (
            '<ul class="legend flat">'
            '<li><span class="key box left"></span>kept</li>'
            '<li><span class="key box gone"></span>cut away</li>'
            "<li>left: input, right: output; lanes join layers that keep the same "
            "channels</li></ul>" + picture
        )
    items = "".join(_group(group) for group in groups)
    text = (
        f"{kept:,} of {total:,} channels were kept, in {len(groups)} groups. The "
        "channels of a group can only be removed together; open one to see its layers."
    )
    return _section(
        "Learned widths" if report.get("method", "loss") == "loss" else "Widths",
        f'{picture}<ul class="groups">{items}</ul>',
        text,
    )


def _group(group):
    ratio = group["kept"] / max(group["total"], 1)
    members = [
        (title, group.get(key))
        for title, key in (
            ("made by", "producers"),
            ("pass through", "through"),
            ("read by", "consumers"),
        )
    ]
    lists = "".join(
        f"<dt>{title}</dt><dd>{escape(', '.join(names))}</dd>"
        for title, names in members
        if names
    )
    lists = lists or "<dt>layers</dt><dd>not recorded</dd>"
    return (
        f'<li><details><summary><span class="name">{escape(group["name"])}</span>'
        f'<span class="bar"><i style="width:{100 * ratio:.2f}%"></i></span>'
        f'<span class="count">{group["kept"]} / {group["total"]} '
        f"({100 * ratio:.0f} %)</span></summary><dl>{lists}</dl></details></li>"
    )


def training(report):
    """Resources and metrics over training."""
    found = charts(report)
    if not found:
        return ""
    cells = "".join(f"<div><h3>{escape(t)}</h3>{chart}</div>" for t, chart in found)
    return _section("Over training", f'<div class="charts">{cells}</div>')


def frontier(report):
    """Several compact networks of one dense network."""
    points = report.get("frontier") or []
    if len(points) < 2:
        return ""
    dense = report["dense"]
    metric = next((n for n in common(dense, points[0]["figures"]) if is_share(n)), None)
    metric = metric or "loss"
    rows, places = [], []
    if not is_number(dense.get(metric)) or not dense.get("macs"):
        return ""
    for point in sorted(points, key=lambda p: -p["figures"].get("macs", 0)):
        figures = point["figures"]
        share = figures["macs"] / dense["macs"]
        places.append((100 * share, _in_percent(metric, figures.get(metric))))
        budget = ", ".join(
            f"{title_of(k)} {_limit(v)}" for k, v in point["budget"].items()
        )
        value = text_of(metric, figures.get(metric))
        rows.append((budget, text_of("macs", figures["macs"]), f"{share:.3f}×", value))
    level = _in_percent(metric, dense[metric])
    chart = line_chart(
        f"{title_of(metric)} over the share of the MACs",
        [
            {"label": "compact", "points": sorted(places), "style": "dots"},
            {"label": "dense", "points": [(0, level), (100, level)], "style": "dashed"},
        ],
        x_label="MACs, % of the dense network",
        y_text=lambda v: f"{v:g} %" if is_share(metric) else f"{v:g}",
        x_range=(0, 100),
    )
    head = ("budget", "MACs", "of dense", title_of(metric))
    return _section("Frontier", chart + _table(head, rows))


def _in_percent(metric, value):
    return 100 * value if is_share(metric) and is_number(value) else value


def frozen(report):
    """What was left alone, and why."""
    rows = [(f["layer"], f["reason"]) for f in report.get("frozen") or []]
    if not rows:
        return ""
    text = "The output channels of these layers all stay."
    return _section("Left alone", _table(("layer", "reason"), rows, texts=(1,)), text)


def details(report):
    """Settings, times and versions."""
    rows = [
        (title, report[key])
        for title, key in (
            ("seed", "seed"),
            ("epochs", "epochs"),
            ("precision of the .tflite file", "precision"),
            ("data", "data"),
        )
        if report.get(key) is not None
    ]
    rows += [(k.replace("_", "-"), _time(v)) for k, v in _items(report, "seconds")]
    rows += [(name, version) for name, version in _items(report, "versions")]
    if not rows:
        return ""
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)
    return _section("How it was made", f'<dl class="details">{items}</dl>')


def _items(report, key):
    return (report.get(key) or {}).items()


def _time(seconds):
    if not is_number(seconds):
        return str(seconds)
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _limit(value):
    if isinstance(value, str):
        return value
    return f"{100 * value:g} %" if value <= 1 else f"{value:,}"


def _section(title, content, text=""):
    text = f"<p>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(title)}</h2>{text}{content}</section>"


def _table(head, rows, raw=(), texts=()):
    titles = "".join(
        f'<th scope="col"{_left(i, texts)}>{escape(cell)}</th>'
        for i, cell in enumerate(head)
    )
    lines = []
    for row in rows:
        first, *rest = row
        cells = "".join(
            f"<td{_text_class(i, texts)}>{cell if i in raw else escape(cell)}</td>"
            for i, cell in enumerate(rest, start=1)
        )
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _left(index, texts):
    return ' style="text-align:left"' if index in texts else ""


def _text_class(index, texts):
    return ' class="text"' if index in texts else ""
