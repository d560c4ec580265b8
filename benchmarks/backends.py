r"""Whether TensorFlow and JAX find the same widths where their random draws differ.

Runs of `benchmarks.accuracy` on the digits, one process for each backend and seed,
from one dense network, on the same batches. Two runs are as far apart as their kept
shares of the channels differ, averaged over the groups. Backends agree if runs on
different ones are no further apart than runs with different seeds on the same one.

A run that is in `--out` already is not run again.

    python -m benchmarks.backends
"""

import itertools
import os
import pathlib
import statistics
import subprocess
import sys

from absl import app, flags

from benchmarks import common
from benchmarks.summarize import spread

FLAGS = flags.FLAGS

ROOT = pathlib.Path(__file__).resolve().parents[1]


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_list("backends", ["tensorflow", "jax"], "Backends.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
    flags.DEFINE_string("arch", "digits_resnet", "Network of examples/models.py.")
    flags.DEFINE_string("budget", "macs=0.4", "Budget.")
    flags.DEFINE_integer("dense_epochs", 10, "Epochs of the dense network.")
    flags.DEFINE_integer("epochs", 6, "Epochs in all, search included.")
    flags.DEFINE_float("search_epochs", 3.0, "Epochs of the search.")
    flags.DEFINE_list("extra", [], "Further flags of benchmarks.accuracy.")
    flags.DEFINE_string("out", "benchmarks/results/backends.jsonl", "Results.")


def command(backend, seed):
    """The command line of one run; its tag is the backend."""
    options = {
        "arch": FLAGS.arch,
        "data": "digits",
        "batch_size": 64,
        "budget": FLAGS.budget,
        "dense_epochs": FLAGS.dense_epochs,
        "epochs": FLAGS.epochs,
        "search_epochs": FLAGS.search_epochs,
        "seed": seed,
        "split": "test",
        "tag": backend,
        "verbose": 0,
        "out": FLAGS.out,
    }
    if backend == "tensorflow":
        options["jit_compile"] = "false"  # compiling takes longer than the training
    options.update(flag.split("=", 1) for flag in FLAGS.extra)
    given = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "benchmarks.accuracy", *given]


def distance(first, second):
    """Mean difference of the kept shares of two runs' groups, in [0, 1]."""
    a, b = (
        {group["name"]: group["ratio"] for group in row["groups"]}
        for row in (first, second)
    )
    return statistics.fmean(abs(a[name] - b[name]) for name in a)


def distances(rows):
    """Distances of all pairs of runs, sorted by what the two runs have in common.

    Args:
        rows: Rows of `benchmarks.accuracy`, tagged with the backend.

    Returns:
        Dict, description -> list of distances.
    """
    found = {}
    for first, second in itertools.combinations(rows, 2):
        tags = sorted({first["cell"]["tag"], second["cell"]["tag"]})
        if len(tags) == 1:
            key = f"{tags[0]}, other seed"
        elif first["cell"]["seed"] == second["cell"]["seed"]:
            key = "other backend, same seed"
        else:
            key = "other backend, other seed"
        found.setdefault(key, []).append(distance(first, second))
    return found


def table(rows):
    """Two Markdown tables: the backends' accuracies, and the distances."""
    lines = []
    for backend in dict.fromkeys(row["cell"]["tag"] for row in rows):
        own = [row for row in rows if row["cell"]["tag"] == backend]
        parts = [
            spread([row["accuracy"][part] for row in own])
            for part in ("dense", "cut", "final")
        ]
        macs = statistics.fmean(row["fraction"]["macs"] for row in own)
        lines.append([backend, len(own), *parts, f"{macs:.3f}"])
    head = ["backend", "runs", "dense %", "after the cut %", "final %", "MACs"]
    accuracies, lines = common.markdown(head, lines), []
    for key, values in sorted(distances(rows).items()):
        reach = f"{min(values):.3f} to {max(values):.3f}"
        mean = f"{statistics.fmean(values):.3f}"
        lines.append([key, len(values), mean, reach])
    head = ["widths of two runs", "pairs", "mean distance", "range"]
    return f"{accuracies}\n\n{common.markdown(head, lines)}"


def main(argv):
    """Runs what is missing and prints the tables."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    for seed, backend in itertools.product(FLAGS.seeds, FLAGS.backends):
        environment = {**os.environ, "KERAS_BACKEND": backend}
        subprocess.run(command(backend, seed), check=True, cwd=ROOT, env=environment)
    print(table(common.read_lines(ROOT / FLAGS.out)))


if __name__ == "__main__":
    define_flags()
    app.run(main)
