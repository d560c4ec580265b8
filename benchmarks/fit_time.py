r"""How long `fit` takes to a budget, beside the plain network's `fit`.

Both train the same network on the same batches for as many epochs, one after the other
in one process, `--turns` times in changing order. Besides the seconds of the whole
`fit`, the parts of it that do not depend on its length: up to the end of the first step
(tracing), and the step that ends the search (deciding, cutting, statistics) with the
first one of the compact network (tracing again).

Example:

    python -m benchmarks.fit_time --archs=resnet20,mobilenet_v2 --epochs=5 \
        --budgets=macs=0.25,macs=0.125 --out=out/fit_time.jsonl
"""

import statistics
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples import data as example_data
from examples import models
from examples.flags import define_data_flags, parse_budget
from examples.optimizers import cosine_sgd

FLAGS = flags.FLAGS

define_data_flags()
flags.DEFINE_list("archs", "resnet20,mobilenet_v2", "Networks of examples/models.py.")
flags.DEFINE_integer("width", None, "Width of the first convolution.")
flags.DEFINE_list("budgets", "macs=0.25,macs=0.125", "Budgets, each a run of its own.")
flags.DEFINE_integer("epochs", 5, "Epochs of every fit.")
flags.DEFINE_integer("batch_size", 128, "Images in a batch.")
flags.DEFINE_integer("limit", None, "Images in each split, for quick tries.")
flags.DEFINE_integer("turns", 1, "Runs of each, of which the median counts.")
flags.DEFINE_bool("teacher", True, "Whether the dense network teaches, as by default.")
flags.DEFINE_string("out", "out/fit_time.jsonl", "File the JSON lines go to.")


class Clock(keras.callbacks.Callback):
    """Seconds until the first step has ended, and of the steps around the cut."""

    def __init__(self):
        super().__init__()
        self.first = self.cut = 0.0
        self._compact = False

    def on_train_begin(self, logs=None):
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        compact = getattr(self.model, "is_compact", False)
        if not self.first:
            self.first = now - self._last
        elif compact and not self._compact:
            self.cut, self._compact = now - self._last, True
        elif compact and self._compact is True:
            self.cut, self._compact = self.cut + now - self._last, "done"
        self._last = now


def fit(model, train, steps):
    """Compiles and trains a network; returns its seconds as a dict."""
    optimizer = cosine_sgd(steps * FLAGS.epochs)
    common.compile_classifier(model, optimizer)
    clock = Clock()
    began = time.perf_counter()
    model.fit(train, epochs=FLAGS.epochs, verbose=0, callbacks=[clock])
    whole = time.perf_counter() - began
    return {"seconds": whole, "first_step": clock.first, "cut": clock.cut}


def measure(arch, data, train, steps):
    """Yields a row for each budget."""
    budgets = FLAGS.budgets
    found: dict = {name: [] for name in ("plain", *budgets)}
    for turn in range(FLAGS.turns):
        order = list(found) if turn % 2 == 0 else list(found)[::-1]
        for name in order:
            keras.utils.set_random_seed(turn)
            model = common.build_dense(arch, data, FLAGS.width)
            if name != "plain":
                model = tf_lossprune.prune_model(
                    model,
                    parse_budget(name),
                    distill="auto" if FLAGS.teacher else False,
                )
            found[name].append(fit(model, train, steps))
    middle = {
        name: {k: statistics.median(run[k] for run in runs) for k in runs[0]}
        for name, runs in found.items()
    }
    for name in budgets:
        yield {
            "arch": arch,
            "teacher": FLAGS.teacher,
            "budget": name,
            "epochs": FLAGS.epochs,
            "steps": steps * FLAGS.epochs,
            "turns": FLAGS.turns,
            "ratio": middle[name]["seconds"] / middle["plain"]["seconds"],
            "plain": middle["plain"],
            "pruned": middle[name],
        }


def main(argv):
    """Measures every network and prints and writes its rows."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    unknown = set(FLAGS.archs) - set(models.NAMES)
    if unknown:
        raise app.UsageError(f"Unknown networks: {sorted(unknown)}")
    data = common.load_data(FLAGS.data, FLAGS.limit, FLAGS.data_file)
    train, *_ = example_data.datasets(data, FLAGS.batch_size, seed=0)
    for arch in FLAGS.archs:
        for row in measure(arch, data, train, len(train)):
            common.append_line(FLAGS.out, {**row, **common.versions()})
            print(f"{row['arch']} {row['budget']}: {row['ratio']:.2f} of the plain fit")
            for name in ("plain", "pruned"):
                print("  ", name, {k: round(v, 1) for k, v in row[name].items()})


if __name__ == "__main__":
    app.run(main)
