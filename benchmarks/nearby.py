r"""Are there better widths near those that the loss has found?

    python -m benchmarks.nearby --network=resnet20:8 --macs=0.125
    python -m benchmarks.nearby --table

Takes the mean log-widths of a method's runs in `--source`, multiplies each by a random
factor, fits the result to the budget, and trains the networks: the same short training
without a search, once for each draw, and with several seeds for the widths in the
middle. They are judged on held-out training images. A cell whose line is in `--out` is
not run again.
"""

import json
import sys

import numpy as np
from absl import app, flags

from benchmarks import common, compare
from benchmarks.summarize import spread

FLAGS = flags.FLAGS

FOUND, DRAWN = "found", "drawn"


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("network", "resnet20:8", "Network with its width.")
    flags.DEFINE_string("macs", "0.125", "Share of the MACs.")
    flags.DEFINE_string("method", "loss", "Whose widths.")
    flags.DEFINE_string("source", "benchmarks/results/compare.jsonl", "Its runs.")
    flags.DEFINE_float("spread", 0.25, "Standard deviation of the log-factors.")
    flags.DEFINE_integer("draws", 12, "Number of draws.")
    flags.DEFINE_integer("repeats", 4, "Trainings of the widths in the middle.")
    flags.DEFINE_integer("epochs", 1, "Epochs of each training.")
    flags.DEFINE_integer("dense_epochs", 10, "Epochs of the dense network.")
    flags.DEFINE_list("extra", [], "Further flags of benchmarks.accuracy.")
    flags.DEFINE_integer("workers", 1, "Processes.")
    flags.DEFINE_bool("table", False, "Print the table of the results and end.")
    flags.DEFINE_string("out", "benchmarks/results/nearby.jsonl", "Results.")


def middle(rows):
    """Geometric mean of the ratios `[groups]` over runs.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote.
    """
    ratios = [[group["ratio"] for group in row["groups"]] for row in rows]
    return np.exp(np.mean(np.log(ratios), axis=0))


def cells():
    """Lists the flags of each cell."""
    arch, _, width = FLAGS.network.partition(":")
    wanted = {"arch": arch, "width": int(width), "budget": f"macs={FLAGS.macs}"}
    wanted["method"] = FLAGS.method
    rows = [
        row
        for row in common.read_lines(FLAGS.source)
        if wanted.items() <= row["cell"].items()
    ]
    if not rows:
        raise app.UsageError(f"There are no such runs in {FLAGS.source}: {wanted}")
    center = middle(rows)
    jobs = [(FOUND, seed, center) for seed in range(FLAGS.repeats)]
    for seed in range(FLAGS.draws):
        factors = np.random.default_rng(seed).normal(0.0, FLAGS.spread, len(center))
        jobs.append((DRAWN, seed, center * np.exp(factors)))
    found = []
    for tag, seed, ratios in jobs:
        config = {"ratios": [round(float(ratio), 4) for ratio in ratios]}
        cell = {
            "arch": arch,
            "width": width,
            "budget": f"macs={FLAGS.macs}",
            "seed": seed,
            "method": json.dumps({"class_name": "FixedRatios", "config": config}),
            "epochs": FLAGS.epochs,
            "dense_epochs": FLAGS.dense_epochs,
            "split": "held_out",
            "distill": "false",
            "tag": tag,
            "out": FLAGS.out,
        }
        found.append(compare.as_flags(cell))
    return found


def table(rows):
    """Makes the Markdown table: what was found, then what was drawn, the best first.

    Args:
        rows: Rows that `benchmarks.accuracy` wrote for cells of this script.

    Returns:
        The table as a string.
    """
    lines = ["| widths | runs | final % | channels |", "| --- | --- | --- | --- |"]

    def show(name, members):
        text = spread([row["accuracy"]["final"] for row in members])
        widths = " ".join(str(group["kept"]) for group in members[0]["groups"])
        lines.append(f"| {name} | {len(members)} | {text} | {widths} |")

    found = [row for row in rows if row["cell"]["tag"] == FOUND]
    drawn = [row for row in rows if row["cell"]["tag"] == DRAWN]
    if found:
        show(FOUND, found)
    for row in sorted(drawn, key=lambda row: -row["accuracy"]["final"]):
        show(f"{DRAWN} {row['cell']['seed']}", [row])
    return "\n".join(lines)


def main(argv):
    """Runs the cells, or prints their table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if FLAGS.table:
        print(table(common.read_lines(FLAGS.out)))
        return
    if failed := compare.run_shared(list(enumerate(cells())), None, FLAGS.workers):
        sys.exit(f"Failed: {failed}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
