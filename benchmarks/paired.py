"""A table of settings against a base run, over the cells that both have."""

import math
import statistics

DEFAULT = "default"


def table(rows, base=DEFAULT):
    """Makes the Markdown table: for each setting its mean difference to the base.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote, with a tag `topic: setting` (as
            `benchmarks.lab.ablations` sets) or the base's.
        base: Tag of the runs that the others are compared with.

    Returns:
        The table as a string: the settings in the order of their first rows, and
        behind the mean difference over networks, budgets and seeds its standard
        error.

    Raises:
        ValueError: If there are no runs with the base's tag.
    """
    found, topics = {}, {}
    for row in rows:
        cell = row["cell"]
        run = (cell["arch"], cell["width"], cell["budget"], cell["seed"])
        found.setdefault(cell["tag"], {})[run] = 100.0 * row["accuracy"]["final"]
    for tag in found:
        topic, colon, name = tag.partition(": ")
        if colon and tag != base:
            topics.setdefault(topic, []).append((name, found[tag]))
    if base not in found:
        raise ValueError(f"Expected a tag among {sorted(found)}. Received: {base!r}")
    default = found[base]
    lines = [
        "| what | setting | runs | final % | difference |",
        "| --- | --- | --- | --- | --- |",
        f"| | {base} | {len(default)} | {statistics.fmean(default.values()):.2f} | |",
    ]
    for topic, settings in topics.items():
        shown = topic
        for name, runs in settings:
            both = [runs[run] - default[run] for run in runs if run in default]
            if not both:
                continue
            text = f"{statistics.fmean(both):+.2f}"
            if len(both) > 1:
                text += f" ± {statistics.stdev(both) / math.sqrt(len(both)):.2f}"
            mean = statistics.fmean(runs.values())
            lines.append(f"| {shown} | {name} | {len(both)} | {mean:.2f} | {text} |")
            shown = ""
    return "\n".join(lines)
