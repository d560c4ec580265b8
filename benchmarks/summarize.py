r"""Prints a Markdown table of accuracy runs: mean and spread over the seeds.

Runs that differ in nothing but the seed make one line. Settings that all runs
have in common are not shown as columns. With `--methods`, each method has one line and
each budget of a network a column (with `--transpose` the other way round), with the
final accuracies or, with `--shown=seconds`, the times or, with `--shown=fit`, the
accuracies on the (augmented) training images in the last epoch. With `--paired` it is
each setting's difference to a base run (`benchmarks.paired`).

Example:

    python -m benchmarks.summarize out/accuracy.jsonl --where=split=test,tag= --methods
"""

import json
import math
import statistics

from absl import app, flags

from benchmarks import common, paired

FLAGS = flags.FLAGS

#: Beside this method's mean stands how far behind it the others' are, by default.
OURS = "loss"

# Always shown; other settings only where they differ between lines.
_COLUMNS = ("arch", "method", "budget")

#: What `methods_table` can show of a row.
SHOWN = {
    "final": lambda row: row["accuracy"]["final"],
    "fit": lambda row: row["history"]["fine_tune"]["accuracy"][-1],
    "seconds": lambda row: row["seconds"]["total"],
}


def define_flags():
    """Defines the flags of this script; `benchmarks.figures` has the first as well."""
    flags.DEFINE_list(
        "where", [], "Only runs with these settings: limit=20000,method=loss|uniform."
    )
    flags.DEFINE_bool("methods", False, "A line for each method.")
    flags.DEFINE_enum(
        "shown",
        "final",
        list(SHOWN),
        "With --methods: test accuracies, those on training images, or times.",
    )
    flags.DEFINE_string("ours", OURS, "With --methods: what others are compared with.")
    flags.DEFINE_bool("transpose", False, "With --methods: a column for each method.")
    flags.DEFINE_bool("paired", False, "Settings against a base run.")
    flags.DEFINE_string("base", paired.DEFAULT, "With --paired: the base run's tag.")


def read(paths, where):
    """Reads the rows of several files that have the given settings.

    Args:
        paths: Files of JSON lines.
        where: List of `name=value` or `name=one|another`; the values as in JSON,
            strings without quotes, and methods with settings by their class.

    Returns:
        List of rows.

    Raises:
        absl.app.UsageError: If there are no files, or no such rows.
    """
    if not paths:
        raise app.UsageError("Expected at least one file of JSON lines.")
    wanted = dict(condition.split("=", 1) for condition in where)
    rows = [row for path in paths for row in common.read_lines(path)]
    for name, value in wanted.items():
        values = set(value.split("|"))
        rows = [row for row in rows if _texts(row["cell"].get(name)) & values]
    if not rows:
        raise app.UsageError(f"There are no such runs in the files. Received: {where}")
    return rows


def _texts(value):
    """What a setting is called in a condition: an object also by its class."""
    text = value if isinstance(value, str) else json.dumps(value)
    found = _object(text)
    return {text, _class_name(found)} if found else {text}


def _object(text):
    """The dict of class and settings that a text in JSON stands for, or None."""
    found = json.loads(text) if text.startswith("{") else {}
    return found if "class_name" in found else None


def _class_name(found):
    """Name of the class without its module."""
    return found["class_name"].rpartition(".")[2]


def spread(values):
    """Formats accuracies in [0, 1] as percent, mean ± sample deviation."""
    values = [100.0 * v for v in values if v is not None]
    if not values:
        return ""
    text = f"{statistics.fmean(values):.2f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.2f}"
    return text


def group_rows(rows, without=("seed",)):
    """Groups rows by their settings without the seed, in order of appearance.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote.
        without: Names of the settings in which the rows of a group may differ.

    Returns:
        List of `(settings, rows)`.
    """
    groups = {}
    for row in rows:
        settings = {k: v for k, v in row["cell"].items() if k not in without}
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
    lines = [head]
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
        lines.append(cells)
    return _markdown(lines)


def methods_table(rows, shown="final", transpose=False, ours=OURS):
    """Makes the Markdown table of accuracies or times, methods against budgets.

    The last column is a method's mean over all columns; empty where it lacks one.
    Behind it stands its distance from ours, with the standard error over the runs.
    Where there are fewer runs than in the fullest cell, brackets have their number.
    Runs that differ in their `tag` alone (from another dense network, say) count
    together, and such that had as many seconds as another of their seed.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote.
        shown: String, a key of `SHOWN`: the final accuracy; that of the last epoch's
            training images; or the seconds of the whole run, the shortest first.
        transpose: Bool, whether methods are columns and budgets lines.
        ours: String, what the others' means are compared with, as it is shown.

    Returns:
        The table as a string.

    Raises:
        ValueError: If runs of a column differ in more than method and seed.
    """
    found = {}
    seconds = shown == "seconds"
    for settings, members in group_rows(rows, ("seed", "tag", "seconds_asked")):
        key = settings["method"], (settings["arch"], settings["budget"])
        if key in found:
            raise ValueError(
                "Expected runs that differ in network, budget, method and seed alone; "
                f"choose some with --where. Received: another setting of {key}"
            )
        found[key] = [SHOWN[shown](row) for row in members]
    methods = sorted({method for method, _ in found})
    columns = sorted({column for _, column in found}, reverse=True)
    means = {}
    for method in methods:
        own = [found.get((method, column)) for column in columns]
        if all(own):
            means[method] = statistics.fmean(statistics.fmean(v) for v in own)
    ours = next((m for m in methods if method_name(m) == ours), ours)
    lines = [["method", *(" ".join(column) for column in columns), "mean"]]
    most = max(len(values) for values in found.values())

    def show(values):
        text = _mean_seconds(values) if seconds else spread(values)
        return text + (f" [{len(values)}]" if 0 < len(values) < most else "")

    # Methods without a mean stand last.
    best = sorted(means, key=means.get, reverse=not seconds)
    for method in [*best, *(m for m in methods if m not in means)]:
        cells = [show(found.get((method, column), [])) for column in columns]
        mean = ""
        if method in means:
            mean = (_mean_seconds if seconds else spread)([means[method]])
        if mean and method != ours and ours in means:
            if seconds:
                mean += f" (x {means[method] / means[ours]:.2f})"
            else:
                error = _standard_error(
                    [found[m, c] for m in (method, ours) for c in columns], len(columns)
                )
                mean += f" ({100 * (means[method] - means[ours]):+.2f}{error})"
        lines.append([method_name(method), *cells, mean])
    return _markdown(list(zip(*lines)) if transpose else lines)


def method_name(text):
    """How a method is shown that `benchmarks.accuracy --method` may take as JSON."""
    found = _object(text)
    if not found:
        return text
    settings = ", ".join(f"{k}={v}" for k, v in found.get("config", {}).items())
    return f"{_class_name(found)}({settings})"


def _markdown(lines):
    """Formats lists of cells, the head first, as a table."""
    head, *rest = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([head, "|" + " --- |" * len(lines[0]), *rest])


def _standard_error(cells, columns):
    """Formats the error of the difference of two methods' means over columns.

    Args:
        cells: List of lists, the accuracies of each cell of both methods.
        columns: Number of columns that a mean is taken over.
    """
    if min(len(values) for values in cells) < 2:
        return ""
    variance = sum(statistics.variance(values) / len(values) for values in cells)
    return f" ± {100 * math.sqrt(variance) / columns:.2f}"


def _mean_seconds(values):
    return f"{statistics.fmean(values):.0f}" if values else ""


def _order(settings):
    return tuple(str(settings.get(name)) for name in ("arch", "budget", "method"))


def main(argv):
    """Reads the files named on the command line and prints the table."""
    rows = read(argv[1:], FLAGS.where)
    if FLAGS.paired:
        print(paired.table(rows, FLAGS.base))
    elif FLAGS.methods:
        print(methods_table(rows, FLAGS.shown, FLAGS.transpose, FLAGS.ours))
    else:
        print(table(rows))


if __name__ == "__main__":
    define_flags()
    app.run(main)
