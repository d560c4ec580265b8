r"""What repair at the cut is worth after how many steps of fine-tuning.

From one trained model, each cell of method, budget, repair and seed trains for as many
steps in all as `--steps` says (search included, Adam, cosine to zero), otherwise with
the defaults of `prune_model`. It is evaluated once, on images held out of the training
images. With 0 steps, methods that need no training are delivered as they are, with
fresh statistics. Lines that `--out` has already are not run again.

Example:

    python -m benchmarks.recovery --model=resnet8.h5 --pixels --data=cifar10 \
        --data_file=cifar10.npz --out=benchmarks/results/recovery.jsonl
    python -m benchmarks.recovery --out=benchmarks/results/recovery.jsonl --table
"""

import itertools
import statistics
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples.flags import parse_options
from tf_lossprune import importances, methods
from tf_lossprune.training import reestimate_statistics

FLAGS = flags.FLAGS

flags.DEFINE_string("model", None, "File of a trained Keras classifier.")
flags.DEFINE_string("data", "cifar10", "Data set, as in `examples.data.load`.")
flags.DEFINE_string("data_file", None, "Its file.")
flags.DEFINE_bool("pixels", False, "Whether the model takes pixels from 0 to 255.")
flags.DEFINE_list("methods", "loss,taylor,uniform,magnitude", "Methods.")
flags.DEFINE_list("macs", "0.5,0.25,0.125", "Budgets, shares of the MACs.")
flags.DEFINE_list("steps", "0,100,400,1600", "Training steps in all.")
flags.DEFINE_list("repairs", "none,least_squares", "Values of `repair`; also auto.")
flags.DEFINE_list("seeds", "0,1,2", "Seeds.")
flags.DEFINE_string("options", "", "JSON object of further options of prune_model.")
flags.DEFINE_float("lr", 1e-3, "First learning rate of Adam.")
flags.DEFINE_string("out", "out/recovery.jsonl", "File of the lines.")
flags.DEFINE_bool("table", False, "Only print the table of the lines.")

BATCH, STATISTICS_BATCHES = 64, 32


def load():
    """The model, its training images and its validation images."""
    return common.classifier(FLAGS.model, FLAGS.data, FLAGS.data_file, FLAGS.pixels)


def run(cell, model, train, validation):
    """One cell: the rest of its line."""
    keras.utils.set_random_seed(cell["seed"])
    steps, repair = cell["steps"], cell["repair"]
    x, _ = train
    options = parse_options(cell.get("options", ""))
    if options.get("importance") == importances.Prediction.name:
        options["importance"] = importances.Prediction(x)
    began = time.perf_counter()
    pruned = tf_lossprune.prune_model(
        model,
        {"macs": cell["macs"]},
        method=cell["method"],
        channel_multiple=1,
        repair=None if repair == "none" else repair,
        seed=cell["seed"],
        **options,
    )
    if steps:
        common.fine_tune(pruned, train, steps, FLAGS.lr, cell["seed"])
        compact = tf_lossprune.strip_pruning(pruned)
    else:
        sample = x[: STATISTICS_BATCHES * BATCH]
        given = None if repair == "none" else sample
        compact = tf_lossprune.strip_pruning(pruned, calibration=given)
        batches = sample.reshape(STATISTICS_BATCHES, BATCH, *x.shape[1:])
        if repair == "none":
            reestimate_statistics(compact, batches, STATISTICS_BATCHES)
    seconds = time.perf_counter() - began

    macs = tf_lossprune.cost(compact)["macs"] / tf_lossprune.cost(model)["macs"]
    return {
        "accuracy": {
            "dense": common.percent_right(model, validation),
            "final": common.percent_right(compact, validation),
        },
        "fraction": {"macs": macs},
        "seconds": seconds,
    }


def cells():
    """The cells of the flags, seeds outermost."""
    found = itertools.product(
        map(int, FLAGS.seeds),
        map(float, FLAGS.macs),
        map(int, FLAGS.steps),
        FLAGS.methods,
        FLAGS.repairs,
    )
    for seed, macs, steps, method, repair in found:
        if steps or not methods.METHODS[method].trains:
            yield {
                **({"options": FLAGS.options} if FLAGS.options else {}),
                "data": FLAGS.data,
                "method": method,
                "macs": macs,
                "steps": steps,
                "repair": repair,
                "seed": seed,
                "lr": FLAGS.lr,
            }


def table(rows):
    """Means over the seeds, of each method and budget a row, of the steps columns."""
    found = {}
    for row in rows:
        cell = row["cell"]
        method = " ".join([cell["method"], cell.get("options", "")]).strip()
        key = cell["macs"], method, cell["repair"]
        found.setdefault(key, {}).setdefault(cell["steps"], []).append(
            row["accuracy"]["final"]
        )
    lengths = sorted({steps for cells in found.values() for steps in cells})
    lines = []
    for (macs, method, repair), by_steps in sorted(found.items(), reverse=True):
        shown = [_shown(by_steps.get(steps, [])) for steps in lengths]
        lines.append([f"{macs:g}", method, repair, *shown])
    return common.markdown(["MACs", "method", "repair", *map(str, lengths)], lines)


def _shown(values):
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else ""
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if not FLAGS.table:
        if not FLAGS.model:
            raise app.UsageError("Expected --model, the file of a trained classifier.")
        loaded = load()
        for cell in cells():
            common.run_once(FLAGS.out, cell, lambda: run(cell, *loaded))  # noqa: B023
            keras.backend.clear_session()
    print(table(common.read_lines(FLAGS.out)))


if __name__ == "__main__":
    app.run(main)
