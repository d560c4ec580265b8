"""Inline SVG pictures for the HTML report.

Every picture is as wide as its container and of a fixed height: horizontal places
are percentages, vertical ones pixels, so that text keeps its size on a phone. Curves
lie in a nested picture that is stretched, with strokes that are not. Colours are CSS
classes, which the page defines for light and dark screens.
"""

import html
import itertools
import math

_IDS = itertools.count()
#: Beyond this many rows, the lanes of groups that span several layers are left out.
MOST_LANES = 12


def escape(value):
    """Text that is safe inside of HTML, attributes included."""
    return html.escape(str(value), quote=True)


def line_chart(
    title,
    series,
    *,
    x_label,
    y_text=str,
    bands=(),
    x_range=None,
    y_range=None,
    height=220,
):
    """Curves over training.

    Args:
        title: string, what the picture shows, for readers who do not see it.
        series: list of dicts with `label`, `points` (list of `(x, y)`; y may be
            None) and, optionally, `style`: `"line"`, `"dashed"` or `"dots"`, and
            `color`, a number; by default each has its own.
        x_label: string, the horizontal axis' title.
        y_text: function from a tick's value to its text.
        bands: list of `(start, end, label)`, phases shown behind the curves.
        x_range, y_range: `(low, high)` that must be visible, or None.
        height: int, pixels.

    Returns:
        A string of HTML, empty if there is no point.
    """
    series = [
        {"color": index, "style": "line", **entry, "points": _finite(entry["points"])}
        for index, entry in enumerate(series)
    ]
    series = [s for s in series if s["points"]]
    if not series:
        return ""
    xs = [x for s in series for x, _ in s["points"]] + list(x_range or ())
    ys = [y for s in series for _, y in s["points"]] + list(y_range or ())
    x_axis = _Axis(min(xs), max(xs), 100.0)
    ticks = nice_ticks(min(ys), max(ys))
    y_axis = _Axis(ticks[0], ticks[-1], height, upwards=True)
    parts = [_band(band, x_axis, height) for band in bands]
    parts += [_tick_line(y_axis(tick), y_text(tick)) for tick in ticks]
    parts += _x_ticks(x_axis, height)
    parts.append(_axis_title(x_label, height))
    parts += [_curve(entry, x_axis, y_axis, height) for entry in series]
    return _picture(title, parts, height, _legend(series))


def network_profile(title, layers, *, height=200):
    """The widths of the layers along the network, before and after.

    Each layer is a bar around the middle line; its outline is the dense width (on a
    square-root scale, so that narrow layers can be seen), its filled part the share
    that is kept. Layers of one group, which keep the same channels, are joined by a
    lane below.

    Args:
        title: string, for readers who do not see the picture.
        layers: list of dicts with `name`, `kept`, `total`, and `groups`, the names of
            its groups, in the network's order.
        height: int, pixels of the bars.

    Returns:
        A string of HTML, empty without layers.
    """
    if not layers:
        return ""
    widest = math.sqrt(max(layer["total"] for layer in layers) or 1)
    step, middle = 100.0 / len(layers), height / 2
    parts = [f'<line class="axis" x1="0" x2="100%" y1="{middle}" y2="{middle}"/>']
    for index, layer in enumerate(layers):
        full = height * math.sqrt(layer["total"]) / widest
        kept = full * layer["kept"] / max(layer["total"], 1)
        x, width = index * step + 0.1 * step, 0.8 * step
        text = f"{layer['name']}: {layer['kept']} of {layer['total']} channels"
        bars = "".join(
            f'<rect class="{kind}" x="{x:.3f}%" width="{width:.3f}%" '
            f'y="{middle - size / 2:.1f}" height="{size:.1f}" rx="1"/>'
            for kind, size in (("cut", full), ("kept", kept))
        )
        parts.append(f"<g>{bars}<title>{escape(text)}</title></g>")
    lanes = _lanes(layers)
    for color, (name, places, row) in enumerate(lanes):
        y = height + 16 + 12 * row
        xs = [(place + 0.5) * step for place in places]
        dots = "".join(f'<circle cx="{x:.3f}%" cy="{y}" r="2.5"/>' for x in xs)
        line = f'<line x1="{xs[0]:.3f}%" x2="{xs[-1]:.3f}%" y1="{y}" y2="{y}"/>'
        text = f"{name}: {len(places)} layers keep the same channels"
        parts.append(
            f'<g class="lane c{color % 6}">{line}{dots}<title>{escape(text)}</title>'
            "</g>"
        )
    rows = max((row + 1 for _, _, row in lanes), default=0)
    total = height + (16 + 12 * rows if rows else 0)
    return _picture(title, parts, total, "", kind="profile")


def nice_ticks(low, high, count=4):
    """Round numbers from at or below `low` to at or above `high`.

    Args:
        low, high: floats; may be equal.
        count: int, about how many steps.

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


class _Axis:
    """Maps values to places."""

    def __init__(self, low, high, length, upwards=False):
        self.low, self.high = low, high if high > low else low + 1.0
        self._length, self._upwards = length, upwards

    def __call__(self, value):
        share = (value - self.low) / (self.high - self.low)
        return self._length * (1.0 - share if self._upwards else share)


def _finite(points):
    return [
        (float(x), float(y))
        for x, y in points
        if isinstance(y, (int, float)) and math.isfinite(y)
    ]


def _curve(entry, x_axis, y_axis, height):
    style, color = entry["style"], f"c{entry['color'] % 6}"
    points = entry["points"]
    if style == "dots":
        marks = "".join(
            f'<circle cx="{x_axis(x):.2f}%" cy="{y_axis(y):.1f}" r="3.5">'
            f"<title>{escape(entry['label'])}: {y:.4g}</title></circle>"
            for x, y in points
        )
        return f'<g class="dots {color}">{marks}</g>' + (
            _path(points, f"thin {color}", x_axis, y_axis, height)
        )
    return _path(points, f"{style} {color}", x_axis, y_axis, height)


def _path(points, kind, x_axis, y_axis, height):
    places = " ".join(f"{10 * x_axis(x):.1f},{y_axis(y):.1f}" for x, y in points)
    return (
        f'<svg width="100%" height="{height}" viewBox="0 0 1000 {height}" '
        f'preserveAspectRatio="none"><polyline class="curve {kind}" '
        f'points="{places}"/></svg>'
    )


def _band(band, x_axis, height):
    start, end, label = band
    left, right = x_axis(max(start, x_axis.low)), x_axis(min(end, x_axis.high))
    if right <= left:
        return ""
    text = ""
    if right - left > 12:  # else there is no room for it on a phone
        text = (
            f'<text class="phase" x="{left + 1:.2f}%" y="{height - 7}">'
            f"{escape(label)}</text>"
        )
    return (
        f'<rect class="band" x="{left:.2f}%" width="{right - left:.2f}%" y="0" '
        f'height="{height}"><title>{escape(label)}</title></rect>{text}'
    )


def _tick_line(y, text):
    return (
        f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    )


def _x_ticks(axis, height):
    ticks = nice_ticks(axis.low, axis.high)
    return [
        f'<text x="{axis(tick):.2f}%" y="{height + 18}" text-anchor="middle">'
        f"{tick:g}</text>"
        for tick in ticks
        if axis.low - 1e-9 <= tick <= axis.high + 1e-9
    ]


def _axis_title(text, height):
    return (
        f'<text class="name" x="100%" y="{height + 36}" text-anchor="end">'
        f"{escape(text)}</text>"
    )


def _lanes(layers):
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


def _legend(series):
    items = "".join(
        f'<li><span class="key {entry["style"]} c{entry["color"] % 6}"></span>'
        f"{escape(entry['label'])}</li>"
        for entry in series
    )
    return f'<ul class="legend">{items}</ul>'


def _picture(title, parts, height, legend, kind="plot"):
    name = f"picture{next(_IDS)}"
    return (
        f'<figure class="{kind}">{legend}<svg width="100%" height="{height:.0f}" '
        f'role="img" aria-labelledby="{name}"><title id="{name}">{escape(title)}'
        f"</title>{''.join(parts)}</svg></figure>"
    )
