r"""Compresses a network for Fashion-MNIST and converts it to LiteRT.

Trains the dense network or, where it has been trained before, loads it; lets
`tf_lossprune.compress` find the widths within the budget and fine-tune what is left;
tests both on the test images and writes the files for a device:

    python -m examples.fashion_mnist --arch=resnet20 --budget=macs=0.5 --epochs=5

The defaults take about an hour on two cores, most of it for the dense network;
`--limit=2000 --dense_epochs=2 --epochs=2` shows in minutes that everything runs.
"""

import json
import pathlib

import keras
from absl import app, flags

import tf_lossprune
from examples import data as example_data
from examples import models
from examples.flags import format_budget, parse_budget
from examples.optimizers import cosine_sgd
from tf_lossprune import report

_ARCHITECTURES = {
    "resnet20": "resnet20",
    "vgg": "vgg16_bn",
    "mobilenet_v1": "mobilenet_v1",
    "mobilenet_v2": "mobilenet_v2",
}

_ARCH = flags.DEFINE_enum("arch", "resnet20", list(_ARCHITECTURES), "The network.")
_WIDTH = flags.DEFINE_integer("width", 16, "Channels of the first convolution.", 1)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A dense .keras model to use.")
_DENSE_EPOCHS = flags.DEFINE_integer("dense_epochs", 15, "Epochs of the dense net.", 1)
_BUDGET = flags.DEFINE_string("budget", "macs=0.5", "Such as macs=0.5,params=0.4.")
_METHOD = flags.DEFINE_enum(
    "method", "loss", ["loss", "magnitude", "uniform"], "What chooses the widths."
)
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Epochs in all, search included.", 1)
_DISTILL = flags.DEFINE_bool("distill", True, "Whether the dense net is a teacher.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images in a batch.", 1)
_CHANNEL_MULTIPLE = flags.DEFINE_integer("channel_multiple", 8, "Widths' divisor.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and draws.")
_LIMIT = flags.DEFINE_integer("limit", None, "Training images, for quick tries.", 1)
_OUT = flags.DEFINE_string("out", "out/fashion_mnist", "Folder of the results.")
_VERBOSE = flags.DEFINE_integer("verbose", 1, "As in `Model.fit`.", 0, 2)


def _loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def dense_network(data, train, validation, path):
    """The dense network: `--checkpoint`, else `path`, else trained and saved there.

    Args:
        data: `examples.data.Data` of the images.
        train: Dataset of training batches.
        validation: Dataset of validation batches.
        path: `.keras` file that keeps the trained network.

    Returns:
        A `keras.Model` of logits.
    """
    path = pathlib.Path(_CHECKPOINT.value or path)
    if _CHECKPOINT.value or path.exists():
        print(f"Dense network: {path}")
        return keras.models.load_model(path, compile=False)
    name = _ARCHITECTURES[_ARCH.value]
    model = models.build(
        name,
        input_shape=data.input_shape,
        classes=data.classes,
        width=_WIDTH.value,
    )
    steps = _DENSE_EPOCHS.value * len(train)
    model.compile(cosine_sgd(steps, learning_rate=0.1), _loss(), metrics=["accuracy"])
    model.fit(
        train,
        validation_data=validation,
        epochs=_DENSE_EPOCHS.value,
        verbose=_VERBOSE.value,
    )
    model.save(path)
    return model


def main(argv):
    """Runs the example."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    budget = parse_budget(_BUDGET.value)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(_SEED.value)
    data = example_data.load_fashion_mnist()
    train, validation, test = example_data.datasets(
        data, _BATCH_SIZE.value, _SEED.value, limit=_LIMIT.value
    )
    name = f"{_ARCH.value}-{_WIDTH.value}"
    dense = dense_network(
        data,
        train,
        validation,
        out / f"{name}-e{_DENSE_EPOCHS.value}-n{_LIMIT.value or 0}.keras",
    )
    print(tf_lossprune.inspect_model(dense))

    compact, result = tf_lossprune.compress(
        dense,
        budget,
        train,
        validation,
        epochs=_EPOCHS.value,
        optimizer=cosine_sgd(_EPOCHS.value * len(train)),
        loss=_loss(),
        metrics=["accuracy"],
        method=_METHOD.value,
        distill=_DISTILL.value,
        channel_multiple=_CHANNEL_MULTIPLE.value,
        seed=_SEED.value,
        verbose=_VERBOSE.value,
    )
    compact.save(out / f"{name}-compact.keras")

    # The test images are read here for the first time, after every choice.
    table = tf_lossprune.compare(dense, compact, test, folder=out / name, verbose=False)
    record = {**table.to_dict(), "budget": budget, "compression": result.to_dict()}
    path = out / f"{name}-report.json"
    path.write_text(json.dumps(record, indent=2) + "\n")

    print(f"\n{_ARCH.value}, budget {format_budget(budget)}, test images:\n")
    print(table)
    print("\nKeep ratio of each group:\n")
    print(report.ratio_table(result.groups))
    print(f"\nWritten to {out}")


if __name__ == "__main__":
    app.run(main)
