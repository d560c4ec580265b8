"""Accuracy against cost, as a table and a picture."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tf_lossprune.report.curves import axis_text, in_percent
from tf_lossprune.report.geometry import octave_ticks
from tf_lossprune.report.plot import agg_figure
from tf_lossprune.tables import aligned
from tf_lossprune.tables.figures import budget_text, scaled, title_of
from tf_lossprune.types import Path


def frontier_table(
    results: Sequence[Any], metric: str = "accuracy", resource: str = "macs"
) -> str:
    """What each of several compact models costs and reaches.

    Args:
        results: List of `CompressionResult`s of one dense model.
        metric: Name of the figure to compare.
        resource: Name of the cost to compare.

    Returns:
        A table; the dense model first, then the results by falling cost.

    Raises:
        ValueError: If there is no result, or one lacks the figures.

    Example:
        >>> print(frontier_table([result for _, result in found]))
    """
    head = ("", resource, "of dense", metric)
    rows = []
    (dense_cost, dense_value), *points = _points(results, metric, resource)
    for name, (cost, value) in [("dense", (dense_cost, dense_value))] + [
        (budget_text(result.budget), point) for result, point in zip(results, points)
    ]:
        row = (name, scaled(cost), f"{cost / dense_cost:.3f}", f"{value:.4f}")
        rows.append((*row, cost))
    body = sorted(rows, key=lambda row: -row[-1])
    return aligned([head, *(row[:-1] for row in body)])


def plot_frontier(
    results: Sequence[Any] | Mapping[str, Sequence[Any]],
    path: Path,
    metric: str = "accuracy",
    resource: str = "macs",
) -> str:
    """Draws a metric against the cost of several compact models.

    Args:
        results: List of `CompressionResult`s of one dense model; or a dict from a
            title to such a list, for several curves.
        path: Path of the picture; its suffix gives the format (.png, .svg, .pdf).
        metric: Name of the figure on the vertical axis.
        resource: Name of the cost on the horizontal axis, drawn as the share of the
            dense cost.

    Returns:
        The path, a string.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there is no result, or one lacks the figures.
    """
    curves: Mapping[str, Sequence[Any]]
    curves = results if isinstance(results, Mapping) else {"compact": results}
    figure = agg_figure((6.4, 4.2))
    axes = figure.add_subplot()
    least = 50.0
    for title, entries in curves.items():
        (dense_cost, dense_value), *points = _points(entries, metric, resource)
        places = sorted(
            (100 * cost / dense_cost, in_percent(metric, value))
            for cost, value in points
        )
        axes.plot(*zip(*places), marker="o", label=title)
        least = min(least, places[0][0])
    level = in_percent(metric, dense_value)
    axes.axhline(level, color="#888888", linestyle="--", linewidth=1.2)
    axes.annotate(
        "dense",
        (0.99, level),
        (0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        color="#666666",
    )
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.9 * least, 105.0)
    axes.set_xticks(octave_ticks(0.9 * least, 100.0), minor=False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.yaxis.set_major_formatter(lambda value, _: axis_text(metric)(value))
    axes.set_xlabel(f"{title_of(resource)}, share of the dense model")
    axes.set_ylabel(title_of(metric))
    axes.margins(y=0.12)
    axes.grid(alpha=0.25)
    if len(curves) > 1:
        axes.legend(frameon=False, loc="lower right")
    figure.savefig(os.fspath(path), dpi=130)
    return os.fspath(path)


def _points(
    results: Sequence[Any], metric: str, resource: str
) -> list[tuple[float, float]]:
    """`(cost, metric)` of the dense model and of each result."""
    if not results:
        raise ValueError(f"Expected at least one result. Received: {results!r}")
    figures = [results[0].dense, *(result.compact for result in results)]
    for entry in figures:
        if metric not in entry or resource not in entry:
            raise ValueError(
                f"Expected results with {resource!r} and {metric!r}; metrics need "
                f"validation data. Received: {sorted(entry)}"
            )
    return [(entry[resource], entry[metric]) for entry in figures]
