r"""Cuts without any training: what repair and fresh statistics bring back.

Of each group that one layer alone produces (within the blocks of a residual network),
the same share of channels is kept; and budgets of MACs are met by the methods that need
no training. Accuracy, on images held out of the training images:

    python -m benchmarks.repair --model=resnet8.h5 --pixels \
        --data=cifar10 --data_file=cifar10.npz
"""

import itertools
import json
import pathlib
import time

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples import data as datasets
from tf_lossprune import importances
from tf_lossprune.gates import IMPORTANCES
from tf_lossprune.graph import analyze
from tf_lossprune.importances import Prediction
from tf_lossprune.surgery import cut
from tf_lossprune.training import reestimate_statistics, repair

FLAGS = flags.FLAGS

flags.DEFINE_string("model", None, "File of a trained Keras model.", required=True)
flags.DEFINE_string("data", "cifar10", "Data set, as in `examples.data.load`.")
flags.DEFINE_string("data_file", None, "Its file.")
flags.DEFINE_bool("pixels", False, "Whether the model takes pixels from 0 to 255.")
flags.DEFINE_multi_float("keep", [0.75, 0.5, 0.25], "Kept shares of the channels.")
flags.DEFINE_multi_float("macs", [0.5], "Budgets.")
flags.DEFINE_multi_enum(
    "method", ["magnitude", "uniform"], ["magnitude", "uniform"], "Of the budgets."
)
flags.DEFINE_multi_enum(
    "importance",
    ["group_l2", "prediction"],
    ["group_l2", "l1", "l2", "prediction"],
    "Orders of the channels.",
)
flags.DEFINE_integer("samples", 512, "Images to repair with.")
flags.DEFINE_integer("images", 5000, "Images to validate with.")
flags.DEFINE_string("out", None, "Where the figures go (.json).")

#: Batches for the statistics, of the size `BATCH`.
STATISTICS_BATCHES, BATCH = 32, 64


@importances.register_importance
class ProducerL2(importances.Importance):
    """The L2 norm of the weights that make a channel."""

    name = "l2"

    def score(self, channels):
        total = channels.num_units + 1
        slices = importances.weight_slices(channels)
        squares = sum(s.score(2, total) for s in slices if s.role == "producer")
        return keras.ops.sqrt(squares)


def kept_units(channel_graph, share, importance):
    """Bool `[num_units + 1]`: all but the last of each group of one producer."""
    scores = importance(channel_graph)
    scores = keras.ops.convert_to_numpy(scores)
    keep = np.ones(channel_graph.num_units + 1, bool)
    for group in channel_graph.groups:
        if len(group.producers) == 1:
            order = group.units[np.argsort(-scores[group.units], kind="stable")]
            keep[order[round(share * group.size) :]] = False
    return keep


def measure(channel_graph, keep, batches, accuracy):
    """Accuracies after the cut, after fresh statistics, and after repair and those."""
    compact = cut(channel_graph, keep)
    found = {"cut": accuracy(compact)}
    reestimate_statistics(compact, batches, STATISTICS_BATCHES)
    found["statistics"] = accuracy(compact)
    compact = cut(channel_graph, keep)
    began = time.perf_counter()
    done = repair(channel_graph, keep, compact, batches, FLAGS.samples)
    found["seconds"] = time.perf_counter() - began
    found["repair"] = accuracy(compact)
    reestimate_statistics(compact, batches, STATISTICS_BATCHES)
    found["repair_statistics"] = accuracy(compact)
    found["unexplained"] = done.unexplained
    return found


def main(argv):
    del argv
    model = keras.models.load_model(FLAGS.model, compile=False)
    data = datasets.load(FLAGS.data, FLAGS.data_file)
    taken = common.cifar10_pixels if FLAGS.pixels else np.asarray
    x, x_val = (taken(a) for a in (data.x_train[:5000], data.x_val[: FLAGS.images]))
    batches = [x[i : i + BATCH] for i in range(0, len(x), BATCH)]

    def accuracy(network):
        found = network.predict(x_val, batch_size=500, verbose=0).argmax(-1)
        return 100 * float((found == data.y_val[: FLAGS.images]).mean())

    channel_graph = analyze(model)
    rows = []
    print(f"dense {accuracy(model):.1f} %")

    def add(keep, **what):
        found = measure(channel_graph, keep, batches, accuracy)
        rows.append({**what, **found})
        names = ("cut", "statistics", "repair", "repair_statistics")
        figures = ", ".join(f"{n} {found[n]:.1f}" for n in names)
        print(f"{[*what.values()]}: {figures} ({found['seconds']:.1f} s)", flush=True)

    for name in FLAGS.importance:
        began = time.perf_counter()
        importance = Prediction(iter(batches), FLAGS.samples)
        if name != Prediction.name:
            importance = IMPORTANCES.find(name)
        importance(channel_graph)
        print(f"{name}: {time.perf_counter() - began:.1f} s")
        for share in FLAGS.keep:
            keep = kept_units(channel_graph, share, importance)
            add(keep, importance=name, kept=share)
        for method, share in itertools.product(FLAGS.method, FLAGS.macs):
            pruned = tf_lossprune.prune_model(
                model, share, method=method, importance=importance, channel_multiple=1
            )
            # Those of a copy, numbered as the model's are.
            add(pruned.kept_units(), importance=name, method=method, macs=share)
    if FLAGS.out:
        pathlib.Path(FLAGS.out).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    app.run(main)
