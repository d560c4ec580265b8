"""Looks whether the dense model does what it should, before it is pruned."""

import math

import keras
import numpy as np

from tf_lossprune.cli.command import InputError
from tf_lossprune.graph import open_model
from tf_lossprune.surgery import copy_graph
from tf_lossprune.tables.figures import text_of
from tf_lossprune.training.feed import HeldOut

#: Batches that are looked at where there are no validation data.
BATCHES = 32
#: Accuracies of which chance is known.
_ACCURACIES = (
    "accuracy",
    "acc",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
)
_COMPILED = ("loss", "metrics", "loss_weights", "weighted_metrics")


def compile_settings(model, source):
    """Loss and metrics, as keyword arguments of `compile`.

    Args:
        model: `keras.Model` whose own count where the source has none.
        source: `Source`.
    """
    given = (model.get_compile_config() or {}) if model.compiled else {}
    own = {
        key: keras.saving.deserialize_keras_object(given[key])
        for key in _COMPILED
        if given.get(key) is not None
    }
    return {**own, **source.given(*_COMPILED)}


def evaluate(model, dense, source, batch_size):
    """Loss and metrics on the validation data; without, on the training data.

    Args:
        model: `keras.Model`; one that is not compiled gets loss and metrics.
        dense: `keras.Model` whose loss and metrics count.
        source: `Source`.
        batch_size: int.

    Returns:
        A dict.
    """
    if not model.compiled:
        model.compile(**compile_settings(dense, source))
    return source.held_out(batch_size).evaluate(model)


def check_dense(source, train, batch_size, name):
    """Prints what the dense model can do, and warns if it seems to be nothing.

    Args:
        source: `Source`.
        train: `Feed` of its training data.
        batch_size: int.
        name: string, where the data come from.

    Returns:
        Its loss and metrics on the validation data, or None.

    Raises:
        InputError: if its loss is not finite.
    """
    settings = compile_settings(source.model, source)
    if not settings.get("loss") or hasattr(source.train, "__next__"):
        return None  # what is missing is told later; a generator is not to be used up
    model, _ = copy_graph(open_model(source.model))
    model.compile(**settings)
    held_out = _held_out(source, train, batch_size)
    figures = held_out.evaluate(model)
    where = "training" if source.validation is None else "validation"
    texts = ", ".join(f"{key} {text_of(key, v)}" for key, v in figures.items())
    print(f"Dense model, {where} data: {texts}")
    hint = (
        "Are the pixels in the range that the model was trained on, and the classes in "
        "its order?"
    )
    if not math.isfinite(figures["loss"]):
        raise InputError(
            f"Expected a finite loss of the dense model on the {where} data. {hint} "
            f"Received: loss={figures['loss']} with {name!r}"
        )
    chance = chance_of(model)
    for key in _ACCURACIES if chance else ():
        if key in figures and figures[key] < near(chance):
            print(
                f"lossprune: warning: {key} of the dense model on {name} is "
                f"{figures[key]:.2%}, near chance ({chance:.2%}). {hint} For a folder "
                "of images: --pixels."
            )
    return None if source.validation is None else figures


def _held_out(source, train, batch_size):
    if source.validation is not None:
        return source.held_out(batch_size)
    return HeldOut(source.train, batch_size, min(BATCHES, train.steps))


def chance_of(model):
    """The accuracy of guessing, or None for what is no classifier of samples.

    Args:
        model: `keras.Model`.
    """
    shapes = [tensor.shape for tensor in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or not shapes[0][1]:
        return None
    return 1.0 / max(2, shapes[0][1])


def near(chance):
    """The accuracy below which a model may as well be guessing.

    Args:
        chance: float in (0, 1).
    """
    return min(2.0 * chance, chance + 0.1 * (1.0 - chance))


class StopUnlessFinite(keras.callbacks.Callback):
    """Stops with an error as soon as the loss is NaN or infinite."""

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(np.asarray(loss)).all():
            raise InputError(
                "Expected a finite loss in the training: lower --learning_rate, or "
                "clip the gradients in the hook's optimizer, and start again with "
                f"--restart. Received: loss={np.asarray(loss)} at batch {batch + 1}"
            )
