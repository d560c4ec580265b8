"""What the page of a frontier shows: several compact networks of one dense network."""

from collections.abc import Mapping, Sequence
from typing import Any

from tf_lossprune.report.curves import charts
from tf_lossprune.report.frontier_chart import frontier_chart
from tf_lossprune.report.page import details, facts, where
from tf_lossprune.tables import aligned
from tf_lossprune.tables.figures import (
    COSTS,
    budget_text,
    common,
    heading,
    is_share,
    text_of,
    title_of,
)


def frontier_page(
    reports: Sequence[Mapping[str, Any]],
    title: str | None = None,
    links: Sequence[str] = (),
) -> dict[str, Any]:
    """All that `frontier.html.j2` asks for.

    Args:
        reports: dicts as in report.json, of one dense network.
        title: heading, or None: the network's name.
        links: for each report, the address of its page; or none.

    Returns:
        A dict.
    """
    reports, links = _in_order(reports, links)
    first, dense = reports[0], reports[0]["dense"]
    points = [{"budget": r.get("budget"), "figures": r["compact"]} for r in reports]
    head, *rows = networks_rows(reports)
    chart = frontier_chart(dense, points)
    trained = charts(reports[-1]) if _together(reports) else []
    return {
        "title": title or first.get("name") or "Frontier",
        "facts": facts(
            ("networks: ", len(reports)),
            ("method: ", first.get("method")),
            ("", first.get("created")),
        ),
        "verdict": _verdict(reports),
        "chart": chart["chart"] if chart else None,
        "head": head,
        "rows": rows,
        "where": where(first) if "time per sample" in head else "",
        "links": [
            (link, budget_text(report.get("budget")))
            for link, report in zip(links, reports)
        ],
        "widths": _widths(reports),
        "charts": trained,
        "details": details(first) if _together(reports) else [],
    }


def networks_rows(reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A head, the dense network, and the compact ones: what each costs and reaches."""
    dense = reports[0]["dense"]
    names = [
        name
        for name in common(dense, reports[0]["compact"])
        if all(name in common(dense, report["compact"]) for report in reports)
    ]
    if any(is_share(name) for name in names):
        names = [name for name in names if is_share(name) or name in COSTS]
    head = ["", *(title_of(name) for name in names)]
    rows = [["dense", *(text_of(name, dense[name]) for name in names)]]
    for report in reports:
        figures = report["compact"]
        texts = [text_of(name, figures[name]) for name in names]
        rows.append([budget_text(report.get("budget")) or "compact", *texts])
    if "macs" in names:
        place = 1 + names.index("macs")
        head.insert(place + 1, "share")
        for row, figures in zip(rows, [dense, *(r["compact"] for r in reports)]):
            row.insert(
                place + 1, f"{100 * figures['macs'] / (dense['macs'] or 1):.1f} %"
            )
    return [tuple(row) for row in (head, *rows)]


def networks_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """The dense and several compact networks, a line each.

    Args:
        reports: List of dicts as `report_data` returns them, of one dense network.

    Returns:
        A table.
    """
    return aligned(networks_rows(_in_order(reports, ())[0]))


def _in_order(
    reports: Sequence[Mapping[str, Any]], links: Sequence[str]
) -> tuple[list, list]:
    """Reports, and their links, by falling MACs."""
    order = sorted(
        range(len(reports)), key=lambda k: -(reports[k]["compact"].get("macs") or 0)
    )
    return [reports[k] for k in order], [links[k] for k in order if links]


def _together(reports: Sequence[Mapping[str, Any]]) -> bool:
    """Whether they come from one run."""
    return all(report.get("shared_training") for report in reports)


def _verdict(reports: Sequence[Mapping[str, Any]]) -> str:
    """What became of the networks, in one sentence."""
    dense = reports[0]["dense"]
    names = common(dense, reports[0]["compact"])
    metric = next((name for name in names if name not in COSTS), None)
    if metric is None or "macs" not in names or not dense["macs"]:
        return ""
    parts = [
        f"{text_of(metric, report['compact'].get(metric))} at "
        f"{100 * report['compact']['macs'] / dense['macs']:.1f} % of the MACs"
        for report in reports
    ]
    text = f"{heading(metric)}: {text_of(metric, dense[metric])} dense, "
    return f"{text}{', '.join(parts)}."


def _widths(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How many channels each network keeps of each group, or None."""
    groups = [report.get("groups") or [] for report in reports]
    names = [group["name"] for group in groups[0]]
    if not names or any([g["name"] for g in found] != names for found in groups):
        return None
    rows = [
        (
            same[0]["name"],
            same[0]["total"],
            [(g["kept"], round(100 * g["kept"] / max(g["total"], 1))) for g in same],
        )
        for same in zip(*groups)
    ]
    return {
        "head": ["group", "dense", *(budget_text(r.get("budget")) for r in reports)],
        "rows": rows,
    }
