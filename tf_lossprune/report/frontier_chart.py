"""Several compact networks of one dense network: accuracy over cost, for a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from tf_lossprune.report.curves import axis_text, in_percent
from tf_lossprune.report.geometry import Series, line_chart
from tf_lossprune.tables.figures import (
    COSTS,
    budget_text,
    common,
    is_number,
    text_of,
    title_of,
)


def frontier_chart(
    dense: Mapping[str, Any],
    points: Sequence[Mapping[str, Any]],
    own: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """What a page shows of a frontier.

    Args:
        dense: figures of the dense network.
        points: dicts with `budget` and `figures`, one for each compact network.
        own: figures of the network that the page is about, or None.

    Returns:
        A dict with `metric`, its title, `rows` of a table and the `chart`; None if
        there are not two networks with MACs and a metric.
    """
    points = [
        point
        for point in points
        if is_number(point["figures"].get("macs")) and point["figures"]["macs"] > 0
    ]
    if len(points) < 2 or not is_number(dense.get("macs")) or not dense["macs"]:
        return None
    metric = next(
        (n for n in common(dense, points[0]["figures"]) if n not in COSTS), None
    )
    if metric is None:
        return None
    points.sort(key=lambda point: -point["figures"]["macs"])
    rows, places, marked = [], [], []
    for point in points:
        macs, value = point["figures"]["macs"], point["figures"].get(metric)
        share = macs / dense["macs"]
        texts = text_of("macs", macs), f"{100 * share:.1f} %", text_of(metric, value)
        rows.append((budget_text(point["budget"]), *texts))
        places.append((100 * share, in_percent(metric, value)))
        if own and (macs, value) == (own.get("macs"), own.get(metric)):
            marked = places[-1:]
    level = in_percent(metric, dense[metric])
    ends = min(50.0, 0.8 * places[-1][0]), max(100.0, places[0][0])
    return {
        "metric": title_of(metric),
        "rows": rows,
        "chart": line_chart(
            f"{title_of(metric)} over the share of the MACs",
            [
                Series("compact networks", places, "dots", 0, notes=True),
                Series("the network of this page", marked, "dots", 1),
                Series("dense network", [(x, level) for x in ends], "dashed", 2),
            ],
            x_label="MACs, share of the dense network",
            x_text="{:g} %".format,
            y_text=axis_text(metric),
            octaves=True,
        ),
    }
