r"""One compression run, one JSON line: what is left of the accuracy at a budget.

The protocol: start from a dense network, spend `--epochs` in all on whatever the
method does (search, fine-tuning), SGD from `--lr` down to 0, and evaluate once at
the end.

- `--split=validation` trains on the training images minus 5000 and evaluates on
  those 5000. Every choice is made with it. A `--checkpoint` that was trained on all
  training images has seen those 5000, so its accuracies there are only good for
  comparing settings with each other.
- `--split=held_out` trains on what `--split=test` does, and evaluates on up to 20,000
  of the training images which `--limit` leaves out: four times as many as with
  `validation`, and from the same dense network as the final runs.
- `--split=test` trains on all training images and evaluates the test images once.

A run whose settings are in `--out` already is not run again, so a loop over
settings can be stopped and started. Without `--checkpoint` the dense network is
trained first (`--dense_epochs`) and kept in `--cache`.

Example:

    python -m benchmarks.accuracy --checkpoint=resnet20_fmnist.keras \
        --method=loss --budget=macs=0.25 --epochs=5 --seed=0 \
        --out=out/accuracy.jsonl
    python -m benchmarks.summarize out/accuracy.jsonl
"""

import pathlib
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common
from examples import data as example_data
from examples.flags import (
    define_data_flags,
    format_budget,
    parse_budget,
    parse_method,
    parse_options,
)
from examples.optimizers import cosine_sgd

FLAGS = flags.FLAGS

_DENSE_ACCURACIES = {}

flags.DEFINE_string("arch", "resnet20", "Network of examples/models.py.")
flags.DEFINE_integer("width", None, "Width of the first convolution.")
define_data_flags()
flags.DEFINE_string("checkpoint", None, "Dense .keras model; trained if missing.")
flags.DEFINE_integer("dense_epochs", 15, "Epochs of the dense training.")
flags.DEFINE_integer("dense_seed", 0, "Seed of the dense training.")
flags.DEFINE_string("cache", "out/dense", "Folder of the trained dense models.")
flags.DEFINE_string(
    "method",
    "loss",
    "Name, or {class_name: ..., config: {...}} as JSON; see examples/flags.py.",
)
flags.DEFINE_string("budget", "macs=0.25", "Such as macs=0.5,params=0.4.")
flags.DEFINE_integer("epochs", 5, "Epochs in all, search included.")
flags.DEFINE_float("search_epochs", None, "Epochs of the search.")
flags.DEFINE_integer("seed", 0, "Seed of the run.")
flags.DEFINE_string(
    "distill", "false", "false, true, auto (the default), or the teacher's weight."
)
flags.DEFINE_enum(
    "split", "validation", ["validation", "held_out", "test"], "What is evaluated."
)
flags.DEFINE_float("lr", 0.05, "First learning rate; falls to 0 (cosine).")
flags.DEFINE_float("weight_decay", 5e-4, "Coupled (L2) weight decay.")
flags.DEFINE_integer("batch_size", 128, "Images in a batch.")
flags.DEFINE_integer("channel_multiple", 1, "Widths are multiples of this.")
flags.DEFINE_string("options", "", "JSON object of further options of prune_model.")
flags.DEFINE_string("tag", "", "Free text; runs with another tag run again.")
flags.DEFINE_integer("limit", None, "Images in each split, for quick tries.")
flags.DEFINE_bool("jit_compile", None, "Compile steps with XLA; unset: Keras decides.")
flags.DEFINE_string("save", None, "Where the compact model goes (.keras).")
flags.DEFINE_string("out", "out/accuracy.jsonl", "File the JSON line goes to.")
flags.DEFINE_integer("verbose", 2, "As in Model.fit.")
flags.DEFINE_bool(
    "fast_kernels", False, "On CPUs: the arithmetic of benchmarks/lab/kernels.py."
)


class KeepCut(keras.callbacks.Callback):
    """Keeps a copy of the compact network as it is before fine-tuning."""

    def __init__(self):
        super().__init__()
        self.cut = None

    def on_train_begin(self, logs=None):
        """Copies the network, unless it is still the one that searches."""
        # With distillation the compact network is the student of a `Team`.
        model = getattr(self.model, "student", self.model)
        if self.cut is None and not isinstance(model, tf_lossprune.PrunedModel):
            self.cut = common.clone(model)


def parse_distill(text):
    """Turns "false", "true", "auto" or a number into what `compress` takes.

    Raises:
        ValueError: If the text is none of those.
    """
    named = {"false": False, "true": True, "auto": "auto"}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"`--distill` must be false, true, auto or a number. Received: {text!r}"
        ) from None


def cell():
    """Everything that decides the result of the run, as a dict (its key)."""
    dense = FLAGS.checkpoint and pathlib.Path(FLAGS.checkpoint).name
    # Newer settings have no key where they are off: lines from before still count.
    newer = {}
    if FLAGS.data_file:
        newer["data_file"] = pathlib.Path(FLAGS.data_file).name
    return {
        "arch": FLAGS.arch,
        "width": FLAGS.width,
        "data": FLAGS.data,
        "dense": dense or f"epochs={FLAGS.dense_epochs},seed={FLAGS.dense_seed}",
        "method": FLAGS.method,
        "budget": format_budget(parse_budget(FLAGS.budget)),
        "epochs": FLAGS.epochs,
        "search_epochs": FLAGS.search_epochs,
        "seed": FLAGS.seed,
        "distill": parse_distill(FLAGS.distill),
        "split": FLAGS.split,
        "lr": FLAGS.lr,
        "weight_decay": FLAGS.weight_decay,
        "batch_size": FLAGS.batch_size,
        "channel_multiple": FLAGS.channel_multiple,
        "options": FLAGS.options,
        "tag": FLAGS.tag,
        "limit": FLAGS.limit,
        **newer,
    }


def load_dense(data, jit_compile):
    """The dense network: the checkpoint, or one trained (or cached) here."""
    if FLAGS.checkpoint:
        return keras.models.load_model(FLAGS.checkpoint, compile=False)
    return common.cached_dense(
        FLAGS.cache,
        FLAGS.arch,
        data,
        FLAGS.dense_epochs,
        FLAGS.dense_seed,
        # Test images and those held out are evaluated after the same training.
        validating=FLAGS.split == "validation",
        batch_size=FLAGS.batch_size,
        path=FLAGS.data_file,
        limit=FLAGS.limit,
        width=FLAGS.width,
        jit_compile=jit_compile,
        verbose=FLAGS.verbose,
    )


def dense_accuracy(dense, images, settings):
    """The dense network's accuracy, which all cells of a process share."""
    names = ("arch", "width", "data", "data_file", "dense", "split", "limit")
    key = tuple(settings.get(name) for name in names)
    if key not in _DENSE_ACCURACIES:
        _DENSE_ACCURACIES[key] = common.accuracy(dense, images)
    return _DENSE_ACCURACIES[key]


def run(settings):
    """Compresses and evaluates; returns the row without its key."""
    jit_compile = "auto" if FLAGS.jit_compile is None else FLAGS.jit_compile
    data = common.load_data(FLAGS.data, FLAGS.limit, FLAGS.data_file)
    validating = FLAGS.split == "validation"
    train, validation, test = example_data.datasets(
        data,
        batch_size=FLAGS.batch_size,
        seed=FLAGS.seed,
        use_validation=validating,
    )
    dense = load_dense(data, jit_compile)
    keras.utils.set_random_seed(FLAGS.seed)
    steps = FLAGS.epochs * len(train)
    keep_cut = KeepCut()
    optimizer = cosine_sgd(steps, FLAGS.lr, weight_decay=FLAGS.weight_decay)
    began = time.perf_counter()
    compact, result = tf_lossprune.compress(
        dense,
        parse_budget(FLAGS.budget),
        train,
        epochs=FLAGS.epochs,
        search_epochs=FLAGS.search_epochs,
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        method=parse_method(FLAGS.method),
        distill=settings["distill"],
        callbacks=[keep_cut],
        jit_compile=jit_compile,
        verbose=FLAGS.verbose,
        channel_multiple=FLAGS.channel_multiple,
        seed=FLAGS.seed,
        **parse_options(FLAGS.options),
    )
    seconds = time.perf_counter() - began
    if FLAGS.save:
        compact.save(FLAGS.save)

    # The only look at these images, after everything has been decided.
    if FLAGS.split == "held_out":
        images = common.left_out(
            FLAGS.data, FLAGS.data_file, FLAGS.limit, FLAGS.batch_size
        )
    else:
        images = validation if validating else test
    accuracies = {"dense": dense_accuracy(dense, images, settings)}
    for name, model in (("cut", keep_cut.cut), ("final", compact)):
        accuracies[name] = model and common.accuracy(model, images)
    costs = {
        "dense": tf_lossprune.cost(dense),
        "compact": tf_lossprune.cost(compact),
    }
    return {
        "accuracy": accuracies,
        "cost": costs,
        "fraction": {
            name: costs["compact"][name] / costs["dense"][name]
            for name in costs["dense"]
        },
        "groups": [
            {name: group[name] for name in ("name", "kept", "total", "ratio")}
            for group in result.groups
        ],
        "history": result.history,
        "seconds": {**result.seconds, "total": seconds},
        "versions": common.versions(),
    }


def install_kernels():
    """Changes Keras' layers for this process if `--fast_kernels` is set."""
    if FLAGS.fast_kernels:
        from benchmarks.lab import kernels

        kernels.install()


def main(argv):
    """Runs the cell of the flags unless `--out` has it."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    settings = cell()
    install_kernels()
    common.run_once(FLAGS.out, settings, lambda: run(settings))


if __name__ == "__main__":
    app.run(main)
