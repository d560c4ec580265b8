r"""How well a latency table predicts networks that it never saw.

A table is calibrated on each dense network; then the network is cut to several
widths, converted and timed in turns with the dense one. Predictions start from the
dense network's time, as budgets do. With `--budget`, networks are also cut to that
share of the time, and timed.

Example:

    python -m benchmarks.latency_model --out=benchmarks/results/latency_model.jsonl
"""

import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples import models
from tf_lossprune.deploy import convert_to_measure, this_device, times_in_turns
from tf_lossprune.resources import Latency

FLAGS = flags.FLAGS

flags.DEFINE_list("arch", "resnet20,mobilenet_v1,mobilenet_v2", "Networks.")
flags.DEFINE_list("shares", "0.8,0.65,0.5,0.35,0.25,0.15", "Shares of the MACs.")
flags.DEFINE_list("multiples", "1,auto", "Values of channel_multiple.")
flags.DEFINE_list("budgets", "0.5,0.25", "Latency budgets, shares of the dense time.")
flags.DEFINE_integer("size", 32, "Height and width of the images.")
flags.DEFINE_string("precision", "fp32", "Precision of to_litert.")
flags.DEFINE_integer("threads", 1, "Threads of the runtime.")
flags.DEFINE_string("tables", "out/latency", "Folder the tables are kept in.")
flags.DEFINE_string("out", "out/latency_model.jsonl", "File the JSON lines go to.")


def build(arch):
    """The network with random weights."""
    keras.utils.set_random_seed(0)
    model = models.build(arch, input_shape=(FLAGS.size, FLAGS.size, 3))
    models.randomize(model, 0)
    return model


def calibrated(arch, model):
    """The network's table: read if it was made before."""
    name = f"{arch}-{FLAGS.size}-{FLAGS.precision}-{FLAGS.threads}.json"
    path = pathlib.Path(FLAGS.tables) / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tf_lossprune.deploy.calibrate_latency(
            model, precision=FLAGS.precision, threads=FLAGS.threads
        ).save(path)
    return tf_lossprune.resources.LatencyTable.load(path)


def cut(model, budget, multiple):
    """The pruned model and the compact one."""
    pruned = tf_lossprune.prune_model(
        model,
        budget,
        method="uniform",
        channel_multiple=common.channel_multiple(multiple),
    )
    return pruned, tf_lossprune.strip_pruning(pruned, check=False)


def measure(arch):
    """Rows of predictions and of kept budgets for one network."""
    model = build(arch)
    latency = Latency(calibrated(arch, model))
    rows, compacts = [], [model]
    for share in FLAGS.shares:
        for multiple in FLAGS.multiples:
            compacts.append(cut(model, {"macs": float(share)}, multiple)[1])
            rows.append({"arch": arch, "macs": share, "multiple": multiple})
    for share in FLAGS.budgets:
        budget = tf_lossprune.Budget({"latency_ms": float(share)}, resources=[latency])
        pruned, compact = cut(model, budget, "auto")
        compacts.append(compact)
        rows.append(
            {
                "arch": arch,
                "latency": share,
                "multiple": "auto",
                "recuts": pruned.recuts,
                "macs": tf_lossprune.cost(compact)["macs"]
                / tf_lossprune.cost(model)["macs"],
            }
        )
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            convert_to_measure(compact, f"{folder}/{index}.tflite", FLAGS.precision)
            for index, compact in enumerate(compacts)
        ]
        dense_ms, *times = times_in_turns(paths, FLAGS.threads, rounds=15)
    table = latency.table
    for row, compact, time in zip(rows, compacts[1:], times):
        predicted = dense_ms * table.predict(compact) / table.predict(model)
        row.update(
            precision=FLAGS.precision,
            threads=FLAGS.threads,
            dense_ms=dense_ms,
            measured_ms=time,
            predicted_ms=predicted,
            error=predicted / time - 1.0,
            device=this_device(),
        )
        common.append_line(FLAGS.out, row)
    return rows


def line(row):
    """A row in words."""
    if "latency" in row:
        what = f"budget {row['latency']}, {row['recuts']} re-cuts"
    else:
        what = f"widths x{row['multiple']}"
    share, error = row["measured_ms"] / row["dense_ms"], row["error"]
    return (
        f"{row['arch']}, macs {row['macs']:.4}, {what}: {row['measured_ms']:.4f} ms, "
        f"{share:.3f} of dense, predicted {row['predicted_ms']:.4f} ms ({error:+.1%})"
    )


def main(argv):
    """Measures every network; prints errors and kept budgets."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    for arch in FLAGS.arch:
        rows = measure(arch)
        for row in rows:
            print(line(row), flush=True)
        errors = [abs(row["error"]) for row in rows if "latency" not in row]
        print(f"{arch}: median absolute error {np.median(errors):.1%}", flush=True)


if __name__ == "__main__":
    app.run(main)
