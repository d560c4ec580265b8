"""From a dense network to a pruned LiteRT file, in a few minutes on two cores.

Trains a small residual network on the digits that ship with scikit-learn, lets the
loss choose the widths at half of the MACs, strips, converts, runs both networks in
LiteRT and compares them:

    python -m examples.digits_demo --out=out/demo
"""

import dataclasses
import importlib.metadata
import pathlib
import platform

import keras
from absl import app, flags, logging

import tf_lossprune
from examples import data as example_data
from examples import models
from examples.flags import format_budget, parse_budget
from examples.optimizers import cosine_sgd
from tf_lossprune import report

_OUT = flags.DEFINE_string("out", "out/demo", "Folder of the results.")
_BUDGET = flags.DEFINE_string("budget", "macs=0.5", "What the network may cost.")
_METHOD = flags.DEFINE_enum(
    "method", "loss", ["loss", "magnitude", "uniform"], "What chooses the widths."
)
_WIDTH = flags.DEFINE_integer("width", 16, "Channels of the first stage.", 1)
_DENSE_EPOCHS = flags.DEFINE_integer("dense_epochs", 20, "Epochs of the dense net.", 1)
_EPOCHS = flags.DEFINE_integer("epochs", 20, "Epochs of the compression.", 1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images in a batch.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and draws.")
_VERBOSE = flags.DEFINE_integer("verbose", 2, "As in `Model.fit`.", 0, 2)


def _loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train_dense(data, train, validation):
    """Trains the dense network and returns it."""
    model = models.digits_resnet(data.input_shape, data.classes, _WIDTH.value)
    steps = _DENSE_EPOCHS.value * len(train)
    model.compile(cosine_sgd(steps, learning_rate=0.1), _loss(), metrics=["accuracy"])
    model.fit(
        train,
        validation_data=validation,
        epochs=_DENSE_EPOCHS.value,
        verbose=_VERBOSE.value,
        shuffle=False,  # The pipeline shuffles.
    )
    return model


def compress(model, budget, train, validation, log):
    """Returns the compact network and the record of the compression.

    Args:
        model: The dense network.
        budget: Dict, what the compact one may cost.
        train: Training data.
        validation: Validation data.
        log: `TrainingLog`.
    """
    steps = _EPOCHS.value * len(train)
    return tf_lossprune.compress(
        model,
        budget,
        train,
        validation,
        epochs=_EPOCHS.value,
        optimizer=cosine_sgd(steps, learning_rate=0.05),
        loss=_loss(),
        metrics=["accuracy"],
        method=_METHOD.value,
        callbacks=[log],
        verbose=_VERBOSE.value,
        seed=_SEED.value,
    )


def _versions():
    names = ("tensorflow", "keras", "numpy", "scikit-learn", "ai-edge-litert")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **versions}


def broken_limits(budget, dense, compact):
    """Names of the resources of which the compact network costs too much."""
    return [
        name
        for name, fraction in budget.items()
        if compact[name] > fraction * dense[name]
    ]


def main(argv):
    """Runs the demo; returns the exit status (1 if the budget was not kept)."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    budget = parse_budget(_BUDGET.value)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(_SEED.value)
    data = example_data.load_digits()
    train, validation, _ = example_data.datasets(data, _BATCH_SIZE.value, _SEED.value)

    dense = train_dense(data, train, validation)
    log = report.TrainingLog(out / "training.jsonl", every=2)
    compact, result = compress(dense, budget, train, validation, log)
    compact.save(out / "compact.keras")

    # The test images are read here for the first time, after every choice.
    table = tf_lossprune.compare(
        dense, compact, (data.x_test, data.y_test), folder=out, verbose=False
    )
    record = report.report_data(
        dataclasses.replace(result, dense=table.dense, compact=table.compact),
        training=log.points(),
        name="Digits",
        method=_METHOD.value,
        seed=_SEED.value,
        epochs=_EPOCHS.value,
        steps_per_epoch=len(train),
        data=data.source,
        versions=_versions(),
    )
    report.write_json(out / "report.json", record)
    report.write_html(out / "report.html", record)
    report.plot_ratios(result.groups, out / "ratios.png")

    print(f"\nDigits, budget {format_budget(budget)}, test images in LiteRT:\n")
    print(table)
    print("\nKeep ratio of each group:\n")
    print(report.ratio_table(result.groups))
    print(f"\nWritten to {out}: {', '.join(sorted(p.name for p in out.iterdir()))}")
    broken = broken_limits(budget, table.dense, table.compact)
    if broken:
        logging.error("The budget is not kept: %s", ", ".join(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    app.run(main)
