r"""Draws the lines of `benchmarks.accuracy`: accuracy against MACs, and times.

    python -m benchmarks.figures benchmarks/results/compare.jsonl --out=compare.png

A panel for each network shows the final accuracy of every method at each budget,
with the spread over the seeds; the last panel shows the time of a run, the part
before the widths were fixed in a darker shade.
"""

import math
import pathlib
import statistics

from absl import app, flags

from benchmarks.summarize import OURS, group_rows, method_name, read
from tf_lossprune.report.plot import agg_figure

FLAGS = flags.FLAGS

#: Ours is drawn on top, in a colour of its own.
COLORS = {OURS: "#222222"}


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("out", "out/compare.png", "The picture.")
    flags.DEFINE_list("where", [], "As in benchmarks.summarize.")
    flags.DEFINE_list(
        "times_where", [], "Further settings of the runs that times are taken from."
    )


def curves(rows):
    """Dict, network -> method -> list of (share of the MACs, accuracies)."""
    found = {}
    for settings, members in group_rows(rows, ("seed", "tag")):
        share = statistics.fmean(row["fraction"]["macs"] for row in members)
        values = [100.0 * row["accuracy"]["final"] for row in members]
        network = found.setdefault(settings["arch"], {})
        network.setdefault(settings["method"], []).append((share, values))
    return found


def times(rows):
    """Dict, method -> mean seconds of the search and of the whole run.

    Over the networks and budgets that all methods have, where there are any.
    """
    columns = {}
    for row in rows:
        cell = row["cell"]
        columns.setdefault(cell["method"], set()).add((cell["arch"], cell["budget"]))
    common = set.intersection(*columns.values()) or set.union(*columns.values())
    found = {}
    for row in rows:
        if (row["cell"]["arch"], row["cell"]["budget"]) not in common:
            continue
        seconds = row["seconds"]
        pair = (seconds.get("search") or 0.0, seconds["total"])
        found.setdefault(row["cell"]["method"], []).append(pair)
    return {
        method: tuple(statistics.fmean(column) for column in zip(*pairs))
        for method, pairs in found.items()
    }


def draw(rows, path, timed=None):
    """Draws the panels.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote.
        path: Path of the picture.
        timed: Rows for the times; None: all of them.
    """
    networks = curves(rows)
    panels = len(networks) + 1
    lines = math.ceil(panels / 3)
    columns = math.ceil(panels / lines)
    figure = agg_figure((4.6 * columns, 4.0 * lines))
    for index, (network, methods) in enumerate(sorted(networks.items())):
        axes = figure.add_subplot(lines, columns, index + 1)
        for method, points in sorted(methods.items()):
            shares, values = zip(*sorted(points))
            axes.errorbar(
                [1.0 / share for share in shares],
                [statistics.fmean(v) for v in values],
                yerr=[statistics.stdev(v) if len(v) > 1 else 0.0 for v in values],
                label=method_name(method),
                color=COLORS.get(method),
                linewidth=2.4 if method == OURS else 1.1,
                zorder=3 if method == OURS else 2,
                marker="o",
                markersize=4,
                capsize=2,
            )
        axes.set_title(network, loc="left")
        axes.set_xlabel("times fewer MACs")
        axes.set_ylabel("test accuracy %")
        axes.grid(alpha=0.25)
        if index == 0:
            axes.legend(frameon=False, fontsize=7)
    axes = figure.add_subplot(lines, columns, panels)
    spent = sorted(times(timed or rows).items(), key=lambda item: item[1][1])
    names = [method_name(name) for name, _ in spent]
    axes.barh(names, [total / 60 for _, (_, total) in spent], color="#a9c1dc")
    axes.barh(names, [search / 60 for _, (search, _) in spent], color="#3b6ea5")
    axes.set_title("minutes a run (dark: search)", loc="left")
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(argv):
    """Reads the files named on the command line and draws them."""
    rows = read(argv[1:], FLAGS.where)
    draw(rows, FLAGS.out, read(argv[1:], [*FLAGS.where, *FLAGS.times_where]))
    print(FLAGS.out)


if __name__ == "__main__":
    define_flags()
    app.run(main)
