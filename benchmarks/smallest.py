r"""The smallest network whose accuracy is within a point of the dense one's.

From one trained model, a method trains a network for each of `--macs`, with as many
steps in all as `--steps` says (search included, Adam, cosine to zero), otherwise with
the defaults: `loss` by one `compress_frontier`, methods without a search by a
`compress` for each. They are evaluated once, on images held out of the training images.
The smallest network is read off the straight lines between the results.

With `--dense_steps`, the model is trained for so many steps first, and kept in
`--cache`. Lines that `--out` has already are not run again.

Example:

    python -m benchmarks.smallest --model=resnet8.h5 --pixels --dense_steps=1600 \
        --data=cifar10 --data_file=cifar10.npz --out=benchmarks/results/smallest.jsonl
    python -m benchmarks.smallest --out=benchmarks/results/smallest.jsonl --table
"""

import pathlib
import time

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common
from tf_lossprune.methods import find_method

FLAGS = flags.FLAGS

BATCH = 64


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("model", None, "File of a trained Keras classifier.")
    flags.DEFINE_string("name", "resnet8", "Its name in the table.")
    flags.DEFINE_string("data", "cifar10", "Data set, as in `examples.data.load`.")
    flags.DEFINE_string("data_file", None, "Its file.")
    flags.DEFINE_bool("pixels", False, "Whether the model takes pixels from 0 to 255.")
    flags.DEFINE_bool("logits", False, "Whether the model returns logits.")
    flags.DEFINE_integer(
        "dense_steps", 0, "Steps of the dense model before all others."
    )
    flags.DEFINE_string("cache", "out/dense", "Folder of dense models trained so.")
    flags.DEFINE_list("methods", "loss,uniform", "Methods.")
    flags.DEFINE_list("macs", "0.7,0.55,0.4,0.3,0.2,0.12", "Shares of the MACs.")
    flags.DEFINE_integer("steps", 1600, "Training steps in all.")
    flags.DEFINE_list("seeds", "0", "Seeds.")
    flags.DEFINE_float("lr", 1e-3, "First learning rate of Adam.")
    flags.DEFINE_float("points", 1.0, "How much accuracy may be lost, in points.")
    flags.DEFINE_string("out", "out/smallest.jsonl", "File of the lines.")
    flags.DEFINE_bool("table", False, "Only print the table of the lines.")


def prepare():
    """The dense model, its training images and those that it is judged on."""
    given = FLAGS.data, FLAGS.data_file, FLAGS.pixels
    model, train, held_out = common.classifier(FLAGS.model, *given)
    if FLAGS.dense_steps:
        name = f"{FLAGS.name}-{FLAGS.data}-{FLAGS.dense_steps}-steps.keras"
        path = pathlib.Path(FLAGS.cache, name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            common.fine_tune(model, train, FLAGS.dense_steps, FLAGS.lr, 0, FLAGS.logits)
            model.save(path)
        model = keras.models.load_model(path, compile=False)
    return model, train, held_out


def run(cell, model, train, held_out):
    """One method: percent right and share of the MACs, by budget."""
    keras.utils.set_random_seed(cell["seed"])
    rate = keras.optimizers.schedules.CosineDecay(FLAGS.lr, cell["steps"])
    settings = {
        "train": common.shuffled(train, cell["steps"] * BATCH, cell["seed"]),
        "epochs": 1,
        "batch_size": BATCH,
        "shuffle": False,
        "optimizer": keras.optimizers.Adam(rate),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=FLAGS.logits),
        "method": cell["method"],
        "seed": cell["seed"],
        "channel_multiple": 1,
        "verbose": 0,
    }
    began = time.perf_counter()
    if find_method(cell["method"]).one_shot:
        found = [
            tf_lossprune.compress(model, {"macs": share}, **settings)[0]
            for share in cell["macs"]
        ]
    else:
        joint = tf_lossprune.compress_frontier(model, cell["macs"], **settings)
        found = [compact for compact, _ in joint]
    dense = tf_lossprune.cost(model)["macs"]
    networks = {"dense": model, **dict(zip(map(str, cell["macs"]), found))}
    return {
        "accuracy": {n: common.percent_right(m, held_out) for n, m in networks.items()},
        "fraction": {
            n: tf_lossprune.cost(m)["macs"] / dense for n, m in networks.items()
        },
        "seconds": time.perf_counter() - began,
        "versions": common.versions(),
    }


def smallest(row, points):
    """The share of the MACs at which so many points are lost, between the results.

    Args:
        row: A line.
        points: Points of accuracy, at least 0.

    Returns:
        A float; that of the smallest network if none loses as much.
    """
    accuracies = [*row["accuracy"].values()]
    sizes = [*row["fraction"].values()]
    wanted = accuracies[0] - points
    for index in range(1, len(sizes)):
        if accuracies[index] < wanted:
            ends = slice(index - 1, index + 1)
            return float(np.interp(wanted, accuracies[ends][::-1], sizes[ends][::-1]))
    return sizes[-1]


def table(rows, points):
    """The lines as a table in Markdown."""
    names = [*rows[0]["accuracy"]]
    head = ["network", "method", "seed", *names, f"within {points:g}"]
    body = [
        [
            *(row["cell"][name] for name in ("network", "method", "seed")),
            *(f"{row['accuracy'][name]:.1f}" for name in names),
            f"{smallest(row, points):.3f}",
        ]
        for row in rows
    ]
    return common.markdown(head, body)


def main(argv):
    """Runs the cells that are missing, or prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if not FLAGS.table:
        model, train, held_out = prepare()
        for seed in map(int, FLAGS.seeds):
            for method in FLAGS.methods:
                cell = {"network": FLAGS.name, "data": FLAGS.data, "method": method}
                cell["macs"] = sorted(map(float, FLAGS.macs), reverse=True)
                cell.update(steps=FLAGS.steps, dense_steps=FLAGS.dense_steps, seed=seed)
                common.run_once(
                    FLAGS.out, cell, lambda c=cell: run(c, model, train, held_out)
                )
    print(table(common.read_lines(FLAGS.out), FLAGS.points))


if __name__ == "__main__":
    define_flags()
    app.run(main)
