"""Plain-text tables of a compression."""

from collections.abc import Mapping

# Key, title, how to write a value, and what the last column compares.
_ROWS = (
    ("accuracy", "accuracy", lambda value: f"{100 * value:.2f} %", "difference"),
    ("macs", "MACs", lambda value: scaled(value), "ratio"),
    ("params", "parameters", lambda value: scaled(value), "ratio"),
    ("tflite_bytes", ".tflite bytes", lambda value: f"{value:,}", "ratio"),
    ("arena_bytes", "arena bytes", lambda value: f"{value:,}", "ratio"),
    ("latency_ms", "median ms", lambda value: f"{value:.3f}", "ratio"),
)
_BAR = 24


def comparison_table(dense, compact):
    """Dense and compact network side by side.

    Args:
        dense: Dict with some of `accuracy` (0 to 1), `macs`, `params`,
            `tflite_bytes`, `arena_bytes` and `latency_ms`; other keys are left out.
        compact: Dict with the same figures of the compact network.

    Returns:
        A table; the last column is the difference in percentage points for the
        accuracy and compact / dense for the rest.

    Raises:
        TypeError: If an argument is not a dict.
        ValueError: If the dicts have none of the figures in common.

    Example:
        >>> print(comparison_table({"macs": 2000}, {"macs": 1000}))
                  dense    compact    compact / dense
        MACs    2.000 k    1.000 k              0.500
    """
    for name, figures in (("dense", dense), ("compact", compact)):
        if not isinstance(figures, Mapping):
            raise TypeError(
                f"`{name}` must be a dict of figures. Received: {figures!r}"
            )
    rows = [("", "dense", "compact", "compact / dense")]
    for key, title, write, comparison in _ROWS:
        if key in dense and key in compact:
            before, after = dense[key], compact[key]
            if comparison == "difference":
                change = f"{100 * (after - before):+.2f} points"
            else:
                change = f"{after / before:.3f}" if before else "-"
            rows.append((title, write(before), write(after), change))
    if len(rows) == 1:
        known = [row[0] for row in _ROWS]
        raise ValueError(
            f"`dense` and `compact` must share one of {known}. "
            f"Received: {sorted(dense)} and {sorted(compact)}"
        )
    return aligned(rows)


def ratio_table(groups):
    """The keep ratio of every group, in the order given, with a bar.

    Args:
        groups: Iterable of dicts with `name`, `kept`, `total` and, optionally,
            `ratio` (kept / total by default), as in `CompressionResult.groups`.

    Returns:
        A table of one line per group.

    Raises:
        TypeError: If a group is not a dict.
        ValueError: If there is no group or one lacks an entry.

    Example:
        >>> print(ratio_table([{"name": "stem", "kept": 4, "total": 16}]))
        group    kept    ratio
        stem     4/16    0.250    ######
    """
    rows = [("group", "kept", "ratio", "")]
    for name, kept, total, ratio in read_groups(groups):
        bar = "#" * max(1, round(_BAR * ratio)) if kept else ""
        rows.append((name, f"{kept}/{total}", f"{ratio:.3f}", bar))
    return aligned(rows, left=(0, 3))


def read_groups(groups):
    """Checks and unpacks groups as `ratio_table` and `plot_ratios` take them.

    Args:
        groups: Iterable of dicts; see `ratio_table`.

    Returns:
        List of `(name, kept, total, ratio)`.

    Raises:
        TypeError: If a group is not a dict.
        ValueError: If there is no group or one lacks an entry.
    """
    if isinstance(groups, (str, Mapping)):
        raise TypeError(f"`groups` must be a list of dicts. Received: {groups!r}")
    rows = []
    for group in groups:
        if not isinstance(group, Mapping):
            raise TypeError(f"A group must be a dict. Received: {group!r}")
        missing = {"name", "kept", "total"} - set(group)
        if missing or group["total"] < 1:
            raise ValueError(
                "A group must have a name, a number of kept channels and a positive "
                f"total. Received: {group!r}"
            )
        kept, total = int(group["kept"]), int(group["total"])
        rows.append(
            (str(group["name"]), kept, total, float(group.get("ratio", kept / total)))
        )
    if not rows:
        raise ValueError("`groups` must hold at least one group. Received: []")
    return rows


def scaled(count):
    """A count with three decimals and a decimal prefix: 40.813 M."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3f} {prefix}"
    return f"{count:,}"


def aligned(rows, left=(0,)):
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("    ".join(cells).rstrip())
    return "\n".join(lines)
