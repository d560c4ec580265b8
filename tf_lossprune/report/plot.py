"""A picture of the learned widths along the network."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from tf_lossprune.tables import read_groups
from tf_lossprune.types import Path

# Beyond this many groups the bars get thinner instead of the picture taller.
_TALLEST_INCHES = 24.0


def plot_ratios(
    groups: Iterable[Mapping[str, Any]],
    path: Path,
    title: str = "Channels kept in each coupling group",
) -> Path:
    """Draws the keep ratio of every group as horizontal bars, top to bottom.

    The dashed line is the share of all channels that was kept; had every group been
    cut alike, all bars would end there.

    Args:
        groups: Iterable of dicts with `name`, `kept`, `total` and, optionally,
            `ratio`, in the order in which they are to appear.
        path: Path of the picture; its suffix gives the format (.png, .svg, .pdf).
        title: Heading of the picture.

    Returns:
        The path, a string.

    Raises:
        ImportError: If matplotlib is missing.
        TypeError: If a group is not a dict.
        ValueError: If there is no group or one lacks an entry.

    Example:
        >>> path = plot_ratios(result.groups, "ratios.png")
    """
    rows = read_groups(groups)
    path = os.fspath(path)
    names, kept, totals, ratios = zip(*rows, strict=True)
    mean = sum(kept) / sum(totals)
    height = min(1.6 + 0.3 * len(rows), _TALLEST_INCHES)
    figure = agg_figure((8.0, height))
    axes = figure.add_subplot()
    places = range(len(rows))
    size = 9 if len(rows) <= 70 else 6
    axes.barh(places, [1.0] * len(rows), height=0.72, color="#eceff1")
    axes.barh(places, ratios, height=0.72, color="#3b6ea5")
    for place, count, total in zip(places, kept, totals, strict=True):
        axes.text(1.015, place, f"{count}/{total}", va="center", fontsize=size)
    axes.axvline(mean, color="#d1495b", linestyle="--", linewidth=1.4)
    axes.text(
        mean,
        1.0,
        f"all channels: {mean:.2f}",
        transform=axes.get_xaxis_transform(),
        color="#d1495b",
        ha="center",
        va="bottom",
        fontsize=9,
    )
    axes.set_yticks(list(places), names, fontsize=size)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("keep ratio")
    axes.set_title(title, loc="left", fontsize=11, pad=20)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(path, dpi=130)
    return path


def agg_figure(size: tuple[float, float]) -> Any:
    """A figure of its own: the caller's pyplot state and backend stay as they are.

    Args:
        size: `(width, height)` in inches.

    Raises:
        ImportError: If matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib: pip install tf_lossprune[report]"
        ) from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
