r"""Prunes a backbone of keras.applications while it learns a new task.

A new head on the backbone is trained first, then `prune_model` wraps the whole, one
`fit` learns weights and widths together (the search, then fine-tuning at the fixed
widths), and `strip_pruning` gives the compact network:

    python -m examples.transfer_learning --budget=macs=0.5

The backbone starts from random weights, so that nothing has to be downloaded;
`--weights=imagenet` (or the path of a weights file) starts from trained ones. The
task is scikit-learn's digits, enlarged; `--data=fashion_mnist` takes longer.

The compact network has been trained for more epochs than the dense one it is printed
next to, so the table shows that pruning works here, not that it helps.
"""

import pathlib

import keras
import numpy as np
from absl import app, flags

import tf_lossprune
from examples import data as example_data
from examples.flags import parse_budget
from examples.optimizers import cosine_sgd
from tf_lossprune import report

_BACKBONE = flags.DEFINE_enum(
    "backbone",
    "MobileNetV2",
    ["MobileNet", "MobileNetV2", "DenseNet121", "ResNet50"],
    "Network of keras.applications.",
)
_ALPHA = flags.DEFINE_float("alpha", 0.5, "Width of a MobileNet.", 0.1)
_WEIGHTS = flags.DEFINE_string("weights", None, "imagenet, a file, or unset: random.")
_DATA = flags.DEFINE_enum("data", "digits", ["digits", "fashion_mnist"], "The task.")
_SIZE = flags.DEFINE_integer("size", 32, "Height and width of the images.", 32)
_LIMIT = flags.DEFINE_integer("limit", None, "Training images, for quick tries.", 1)
_HEAD_EPOCHS = flags.DEFINE_integer(
    "head_epochs", 5, "Epochs of the head alone, if the backbone has weights.", 1
)
_DENSE_EPOCHS = flags.DEFINE_integer("dense_epochs", 15, "Epochs of the whole.", 1)
_EPOCHS = flags.DEFINE_integer("epochs", 15, "Epochs of pruning.", 1)
_BUDGET = flags.DEFINE_string("budget", "macs=0.5", "Such as macs=0.5,params=0.4.")
_LR = flags.DEFINE_float("lr", 0.05, "First learning rate.", 0.0)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images in a batch.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, order and draws.")
_OUT = flags.DEFINE_string("out", "out/transfer_learning", "Folder of the result.")
_VERBOSE = flags.DEFINE_integer("verbose", 2, "As in `Model.fit`.", 0, 2)


def enlarge(batches, data):
    """Turns batches of grey images into colour images in [-1, 1] of `--size`."""
    import tensorflow as tf

    low, high = data.minimum, float(np.max(data.x_train))

    def convert(images, labels):
        images = (images - low) * (2.0 / (high - low)) - 1.0
        images = tf.image.resize(images, (_SIZE.value, _SIZE.value))
        return tf.repeat(images, 3, axis=-1), labels

    return batches.map(convert, num_parallel_calls=2, deterministic=True).prefetch(2)


def build(classes):
    """The backbone with a new head.

    Args:
        classes: Number of logits.

    Returns:
        `(model, backbone)`; the backbone is one nested layer of the model.
    """
    options = {"alpha": _ALPHA.value} if "Mobile" in _BACKBONE.value else {}
    shape = (_SIZE.value, _SIZE.value, 3)
    backbone = getattr(keras.applications, _BACKBONE.value)(
        input_shape=shape,
        include_top=False,
        pooling="avg",
        weights=_WEIGHTS.value,
        **options,
    )
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # 0.999 averages over more steps than a small task has.
            layer.momentum = 0.9
    inputs = keras.Input(shape)
    x = keras.layers.Dropout(0.1)(backbone(inputs))
    outputs = keras.layers.Dense(classes, name="head")(x)
    return keras.Model(inputs, outputs, name=_BACKBONE.value.lower()), backbone


def fit(model, train, validation, epochs):
    """Compiles and trains a model, plain or wrapped: the call is the same."""
    steps = epochs * len(train)
    model.compile(
        optimizer=cosine_sgd(steps, _LR.value),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(train, validation_data=validation, epochs=epochs, verbose=_VERBOSE.value)


def measure(model, test):
    """Test accuracy and cost of a network."""
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    figures = model.evaluate(test, verbose=0, return_dict=True)
    return {"accuracy": float(figures["accuracy"]), **tf_lossprune.cost(model)}


def main(argv):
    """Runs the example."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    keras.utils.set_random_seed(_SEED.value)
    data = getattr(example_data, f"load_{_DATA.value}")()
    train, validation, test = (
        enlarge(split, data)
        for split in example_data.datasets(
            data, _BATCH_SIZE.value, _SEED.value, limit=_LIMIT.value
        )
    )

    model, backbone = build(data.classes)
    if _WEIGHTS.value:
        # An untrained head would send noise into the trained backbone.
        backbone.trainable = False
        fit(model, train, validation, _HEAD_EPOCHS.value)
        backbone.trainable = True
    fit(model, train, validation, _DENSE_EPOCHS.value)

    # The new part: wrap, train as usual, strip.
    pruned = tf_lossprune.prune_model(
        model, parse_budget(_BUDGET.value), seed=_SEED.value
    )
    fit(pruned, train, validation, _EPOCHS.value)
    compact = tf_lossprune.strip_pruning(pruned)

    # The test images are read here for the first time, after every choice.
    print(report.comparison_table(measure(model, test), measure(compact, test)))
    kept = [
        {"name": name, "kept": kept, "total": total}
        for name, (kept, total) in pruned.kept_channels().items()
    ]
    print(f"\n{report.ratio_table(kept)}")
    path = pathlib.Path(_OUT.value) / f"{model.name}-compact.keras"
    path.parent.mkdir(parents=True, exist_ok=True)
    compact.save(path)
    print(f"\nWritten to {path}")


if __name__ == "__main__":
    app.run(main)
