r"""Prints a Markdown table of accuracy runs: mean and spread over the seeds.

Runs that differ in nothing but the seed make one line. Settings that all runs
have in common are not shown as columns.

Example:

    python -m benchmarks.summarize out/accuracy.jsonl --split=test
"""

import json
import statistics

from absl import app, flags

from benchmarks import common

FLAGS = flags.FLAGS

flags.DEFINE_string("split", None, "Only runs evaluated on this split.")
flags.DEFINE_string("tag", None, "Only runs with this tag.")

# Always shown; other settings only where they differ between lines.
_COLUMNS = ("arch", "method", "budget")


def spread(values):
    """Formats accuracies in [0, 1] as percent, mean ± sample deviation."""
    values = [100.0 * v for v in values if v is not None]
    if not values:
        return ""
    text = f"{statistics.fmean(values):.2f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.2f}"
    return text


def group_rows(rows):
    """Groups rows by their settings without the seed, in order of appearance.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote.

    Returns:
        List of `(settings, rows)`.
    """
    groups = {}
    for row in rows:
        settings = {k: v for k, v in row["cell"].items() if k != "seed"}
        key = json.dumps(settings, sort_keys=True)
        groups.setdefault(key, (settings, []))[1].append(row)
    return list(groups.values())


def table(rows):
    """Makes the Markdown table.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote.

    Returns:
        The table as a string.
    """
    groups = group_rows(rows)
    every = [settings for settings, _ in groups]
    names = list(dict.fromkeys(name for settings in every for name in settings))
    varying = [
        name
        for name in names
        if name not in _COLUMNS
        and len({json.dumps(settings.get(name)) for settings in every}) > 1
    ]
    head = [*_COLUMNS, *varying, "runs", "dense %", "after the cut %", "final %"]
    head += ["MACs", "params", "search s", "total s"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for settings, members in sorted(groups, key=lambda g: _order(g[0])):
        shown = [settings.get(name) for name in (*_COLUMNS, *varying)]
        cells = ["" if value is None else str(value) for value in shown]
        cells.append(str(len(members)))
        for part in ("dense", "cut", "final"):
            cells.append(spread([row["accuracy"][part] for row in members]))
        for resource in ("macs", "params"):
            mean = statistics.fmean(row["fraction"][resource] for row in members)
            cells.append(f"{1 / mean:.2f}x fewer")
        for part in ("search", "total"):
            seconds = [row["seconds"].get(part) or 0.0 for row in members]
            cells.append(f"{statistics.fmean(seconds):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _order(settings):
    return tuple(str(settings.get(name)) for name in ("arch", "budget", "method"))


def main(argv):
    """Reads the files named on the command line and prints the table."""
    if len(argv) < 2:
        raise app.UsageError("Expected at least one file of JSON lines.")
    rows = [row for path in argv[1:] for row in common.read_lines(path)]
    for name in ("split", "tag"):
        wanted = getattr(FLAGS, name)
        if wanted is not None:
            rows = [row for row in rows if row["cell"].get(name) == wanted]
    if not rows:
        raise app.UsageError("There are no such runs in the files.")
    print(table(rows))


if __name__ == "__main__":
    app.run(main)
