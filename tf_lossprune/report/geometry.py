"""Where things lie in the pictures of the HTML report, which its templates draw.

Horizontal places are percentages of the width, vertical ones pixels.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tf_lossprune.tables.figures import is_number

#: Beyond this many rows, the lanes of groups that span several layers are left out.
MOST_LANES = 12
_COLORS = 6
_HEIGHT = 220
#: Percent of the width of a phone that a letter of a phase's name takes.
_LETTER = 2.4


@dataclasses.dataclass
class Series:
    """One curve of a chart.

    Attributes:
        label: its name in the legend.
        points: list of `(x, y)`; those whose `y` is not a finite number are left out.
        style: `"line"`, `"dashed"` or `"dots"`.
        color: number of its color, or None: its place among the series.
        notes: whether the dots are labelled with their `y`.
    """

    label: str
    points: Sequence[tuple[float, Any]]
    style: str = "line"
    color: int | None = None
    notes: bool = False


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    x_text: Callable[[float], str] = "{:g}".format,
    y_text: Callable[[float], str] = str,
    bands: Sequence[tuple[float, float, str]] = (),
    x_range: Sequence[float] = (),
    y_range: Sequence[float] = (),
    octaves: bool = False,
) -> dict[str, Any] | None:
    """Curves over a common axis.

    Args:
        title: what the picture shows, for readers who do not see it.
        series: the curves.
        x_label: the horizontal axis' title.
        x_text, y_text: functions from a value to its text.
        bands: list of `(start, end, label)`, phases; every other one is shaded.
        x_range, y_range: values that must be visible.
        octaves: whether the horizontal axis is logarithmic, in percent.

    Returns:
        What the template draws, or None if there is no point.
    """
    kept = []
    for index, entry in enumerate(series):
        points = [(x, y) for x, y in entry.points if is_number(y)]
        color = index if entry.color is None else entry.color
        if points:
            kept.append(dataclasses.replace(entry, points=points, color=color))
    if not kept:
        return None
    xs = [x for entry in kept for x, _ in entry.points] + list(x_range)
    ys = [y for entry in kept for _, y in entry.points] + list(y_range)
    if any(entry.notes for entry in kept):
        ys.append(min(ys) - 0.15 * (max(ys) - min(ys)))  # room below the lowest dot
    y_ticks = nice_ticks(min(ys), max(ys))
    low, high = min(xs), max(xs)
    x_ticks = (octave_ticks if octaves else nice_ticks)(low, high)
    scale = math.log2 if octaves else float

    def across(x: float) -> float:
        return _share(scale(x), scale(low), scale(high), 100.0)

    def down(y: float) -> float:
        return round(_HEIGHT - _share(y, y_ticks[0], y_ticks[-1], _HEIGHT), 1)

    drawn = []
    for entry in kept:
        places = [(across(x), down(y)) for x, y in entry.points]
        texts = [y_text(float(f"{y:.4g}")) for _, y in entry.points]
        dots = zip(places, texts) if entry.style == "dots" else ()
        drawn.append(
            {
                "label": entry.label,
                "style": entry.style,
                "color": (entry.color or 0) % _COLORS,
                "path": " ".join(f"{10 * x:.1f},{y}" for x, y in places),
                "dots": [(*place, text) for place, text in dots],
                "notes": entry.notes,
            }
        )
    return {
        "title": title,
        "height": _HEIGHT,
        "x_label": x_label,
        "x_ticks": [(across(x), x_text(x)) for x in x_ticks if low <= x <= high],
        "y_ticks": [(down(y), y_text(y)) for y in y_ticks],
        "bands": [_band(across(start), across(end), la) for start, end, la in bands],
        "series": drawn,
    }


def network_profile(
    layers: Sequence[Mapping[str, Any]], height: int = 200
) -> dict[str, Any] | None:
    """The widths of the layers along the network, before and after.

    Each layer is a bar around the middle line; its outline is the dense width (on a
    square-root scale, so that narrow layers can be seen), its filled part the share
    that is kept. Layers of one group, which keep the same channels, are joined by a
    lane below.

    Args:
        layers: list of dicts with `name`, `kept`, `total`, and `groups`, the names of
            its groups, in the network's order.
        height: pixels of the bars.

    Returns:
        What the template draws, or None without layers.
    """
    if not layers:
        return None
    widest = math.sqrt(max(layer["total"] for layer in layers) or 1)
    step, middle = 100.0 / len(layers), height / 2
    bars = []
    for index, layer in enumerate(layers):
        full = height * math.sqrt(layer["total"]) / widest
        kept = full * layer["kept"] / max(layer["total"], 1)
        bars.append(
            {
                "x": round((index + 0.1) * step, 3),
                "text": "{name}: {kept} of {total} channels".format(**layer),
                "parts": [
                    (kind, round(middle - size / 2, 1), round(size, 1))
                    for kind, size in (("cut", full), ("kept", kept))
                ],
            }
        )
    lanes: list[dict[str, Any]] = [
        {
            "color": color % _COLORS,
            "text": f"{name}: {len(places)} layers keep the same channels",
            "xs": [round((place + 0.5) * step, 3) for place in places],
            "y": height + 16 + 12 * row,
        }
        for color, (name, places, row) in enumerate(_lanes(layers))
    ]
    return {
        "height": max((lane["y"] + 4 for lane in lanes), default=height),
        "middle": middle,
        "bar_width": round(0.8 * step, 3),
        "bars": bars,
        "lanes": lanes,
    }


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`.

    Args:
        low, high: may be equal.
        count: about how many steps.

    Returns:
        List of at least two rising floats.

    Example:
        >>> nice_ticks(0.12, 0.97)
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if high - low < 1e-9 * max(abs(high), 1e-3):
        margin = 0.05 * abs(low) or 0.5
        low, high = low - margin, high + margin
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def octave_ticks(low: float, high: float, whole: float = 100.0) -> list[float]:
    """The whole and its half, quarter, eighth, ... that lie between two values.

    Example:
        >>> octave_ticks(10, 100)
        [12.5, 25.0, 50.0, 100.0]
    """
    first, last = (math.log2(value / whole) for value in (low, high))
    powers = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
    return [whole * 2.0**power for power in powers]


def _share(value: float, low: float, high: float, length: float) -> float:
    return round(length * (value - low) / ((high - low) or 1.0), 2)


def _band(left: float, right: float, label: str) -> dict[str, Any]:
    fits = _LETTER * len(label) < right - left
    return {"x": left, "width": round(right - left, 2), "label": label, "fits": fits}


def _lanes(layers: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[int], int]]:
    """Groups of several layers: `(name, places, row)`, in as few rows as they fit."""
    places = {}
    for index, layer in enumerate(layers):
        for group in layer.get("groups", ()):
            places.setdefault(group, []).append(index)
    lanes, ends = [], []
    for name, found in places.items():
        if len(found) < 2:
            continue
        row = next((r for r, end in enumerate(ends) if end < found[0]), len(ends))
        ends[row:] = [found[-1], *ends[row + 1 :]]
        lanes.append((name, found, row))
    return lanes if len(ends) <= MOST_LANES else []
