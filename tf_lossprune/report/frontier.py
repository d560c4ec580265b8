"""Accuracy against cost, as a table and a picture."""

import os

from tf_lossprune.report.figures import scaled
from tf_lossprune.report.plot import agg_figure
from tf_lossprune.report.table import aligned


def frontier_table(results, metric="accuracy", resource="macs"):
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
        (_budget_text(result), point) for result, point in zip(results, points)
    ]:
        row = (name, scaled(cost), f"{cost / dense_cost:.3f}", f"{value:.4f}")
        rows.append((*row, cost))
    body = sorted(rows, key=lambda row: -row[-1])
    return aligned([head, *(row[:-1] for row in body)])


def plot_frontier(results, path, metric="accuracy", resource="macs"):
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
    curves = results if isinstance(results, dict) else {"compact": results}
    figure = agg_figure((6.4, 4.2))
    axes = figure.add_subplot()
    for title, entries in curves.items():
        (dense_cost, dense_value), *points = _points(entries, metric, resource)
        places = sorted((cost / dense_cost, value) for cost, value in points)
        axes.plot(*zip(*places), marker="o", label=title)
    axes.axhline(dense_value, color="#888888", linestyle="--", linewidth=1.2)
    axes.text(1.0, dense_value, "dense", ha="right", va="bottom", color="#666666")
    axes.set_xscale("log", base=2)
    axes.set_xlabel(f"{resource}, share of the dense model")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.25)
    if len(curves) > 1:
        axes.legend(frameon=False)
    figure.savefig(os.fspath(path), dpi=130)
    return os.fspath(path)


def _points(results, metric, resource):
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


def _budget_text(result):
    return ", ".join(f"{name}={limit}" for name, limit in result.budget.items())
