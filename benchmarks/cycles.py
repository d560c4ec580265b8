r"""Widths chosen by an accelerator's cycles against widths chosen by MACs.

From one trained model, each seed trains three networks for `--steps` (search included,
Adam, cosine to zero), otherwise with the defaults of `prune_model`:

- `macs`: a budget of MACs alone;
- `cycles`: a budget of the cycles that the former takes;
- `both`: the former's MACs, and at most `--less` of its cycles.

Cycles are Vela's, of int8 files with weights that cannot be compressed. Accuracy is
that of the float32 network on images held out of the training images. Lines that
`--out` has already are not run again.

Example:

    python -m benchmarks.cycles --model=resnet8.h5 --pixels --data=cifar10 \
        --data_file=cifar10.npz --out=benchmarks/results/cycles.jsonl
    python -m benchmarks.cycles --out=benchmarks/results/cycles.jsonl --table
"""

import statistics
import tempfile
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from tf_lossprune import deploy
from tf_lossprune.deploy.measurer import LitertMeasurer

FLAGS = flags.FLAGS

flags.DEFINE_string("model", None, "File of a trained Keras classifier.")
flags.DEFINE_string("data", "cifar10", "Data set, as in `examples.data.load`.")
flags.DEFINE_string("data_file", None, "Its file.")
flags.DEFINE_bool("pixels", False, "Whether the model takes pixels from 0 to 255.")
flags.DEFINE_bool("logits", False, "Whether the model returns logits.")
flags.DEFINE_list("macs", "0.5,0.25", "Budgets, shares of the MACs.")
flags.DEFINE_list("seeds", "0,1,2", "Seeds.")
flags.DEFINE_integer("steps", 400, "Training steps in all.")
flags.DEFINE_float("less", 0.9, "Share of the cycles that `both` may take.")
flags.DEFINE_float("lr", 1e-3, "First learning rate of Adam.")
flags.DEFINE_string("accelerator", "ethos-u55-128", "As `NpuCycles` takes it.")
flags.DEFINE_string("out", "out/cycles.jsonl", "File of the lines.")
flags.DEFINE_bool("table", False, "Only print the table of the lines.")

BY = ("macs", "cycles", "both")


def load():
    """The model, its training images and its validation images."""
    return common.classifier(FLAGS.model, FLAGS.data, FLAGS.data_file, FLAGS.pixels)


def limits(cell, npu):
    """The budget of a cell: that of its MACs, or of the network made by them."""
    by = {"macs": cell["macs"]}
    if cell["by"] == "macs":
        return tf_lossprune.Budget(by, resources=[npu])
    wanted = {**cell, "by": "macs"}
    rows = common.read_lines(FLAGS.out)
    found = next(row["cycles"] for row in rows if row["cell"] == wanted)
    if cell["by"] == "cycles":
        return tf_lossprune.Budget({"npu_cycles": int(found)}, resources=[npu])
    by["npu_cycles"] = int(FLAGS.less * found)
    return tf_lossprune.Budget(by, resources=[npu])


def run(cell, model, train, validation, npu):
    """One cell: the rest of its line."""
    keras.utils.set_random_seed(cell["seed"])
    began, steps = time.perf_counter(), cell["steps"]
    budget = limits(cell, npu)
    pruned = tf_lossprune.prune_model(model, budget, seed=cell["seed"])
    common.fine_tune(pruned, train, steps, cell["lr"], cell["seed"], FLAGS.logits)
    compact = tf_lossprune.strip_pruning(pruned)
    seconds = time.perf_counter() - began
    macs = tf_lossprune.cost(compact)["macs"] / tf_lossprune.cost(model)["macs"]
    return {
        "accuracy": {
            "dense": common.percent_right(model, validation),
            "final": common.percent_right(compact, validation),
        },
        "fraction": {"macs": macs},
        "cycles": cycles(compact),
        "seconds": seconds,
        "versions": common.versions(),
    }


def cycles(network):
    """Cycles of a network's int8 file, whatever its weights are."""
    with tempfile.TemporaryDirectory() as folder:
        path = deploy.convert_to_measure(network, f"{folder}/int8.tflite", "int8")
        return LitertMeasurer().npu_cycles(
            path, any_weights=True, accelerator=FLAGS.accelerator
        )


def cells():
    """The cells of the flags: what the others refer to comes first."""
    for macs in map(float, FLAGS.macs):
        for seed in map(int, FLAGS.seeds):
            for by in BY:
                yield {
                    "data": FLAGS.data,
                    "accelerator": FLAGS.accelerator,
                    "macs": macs,
                    "by": by,
                    "steps": FLAGS.steps,
                    "lr": FLAGS.lr,
                    "seed": seed,
                }


def table(rows):
    """Means over the seeds, and the deviation of the accuracy."""
    head = ["MACs asked", "widths by", "MACs", "cycles", "of those by MACs", "accuracy"]
    lines = []
    for macs in sorted({row["cell"]["macs"] for row in rows}, reverse=True):
        found = {by: _of(rows, macs, by) for by in BY}
        for by, them in found.items():
            if not them:
                continue
            cycles = [row["cycles"] for row in them]
            seeds = {row["cell"]["seed"]: row["cycles"] for row in found["macs"]}
            shares = [row["cycles"] / seeds[row["cell"]["seed"]] for row in them]
            lines.append(
                [
                    f"{macs:g}",
                    by,
                    f"{statistics.mean(r['fraction']['macs'] for r in them):.3f}",
                    f"{statistics.mean(cycles):,.0f}",
                    f"{statistics.mean(shares):.3f}",
                    _spread([row["accuracy"]["final"] for row in them]),
                ]
            )
    return common.markdown(head, lines)


def _of(rows, macs, by):
    wanted = {"macs": macs, "by": by}
    return [r for r in rows if all(r["cell"][k] == v for k, v in wanted.items())]


def _spread(values):
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def main(argv):
    """Runs the cells that have no lines yet, and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if not FLAGS.table:
        if not FLAGS.model:
            raise app.UsageError("Expected --model, the file of a trained classifier.")
        npu = tf_lossprune.resources.NpuCycles(FLAGS.accelerator)
        loaded = load()
        for cell in cells():
            common.run_once(
                FLAGS.out,
                cell,
                lambda: run(cell, *loaded, npu),  # noqa: B023
            )
            keras.backend.clear_session()
    print(table(common.read_lines(FLAGS.out)))


if __name__ == "__main__":
    app.run(main)
