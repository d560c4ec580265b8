"""Models and data named on the command line."""

import dataclasses
import inspect
import pathlib
import zipfile
from typing import Any

import keras

from tf_lossprune.cli import hooks
from tf_lossprune.cli.checks import MODEL_SUFFIXES, check_model_path
from tf_lossprune.cli.command import InputError
from tf_lossprune.cli.images import read_images
from tf_lossprune.training.feed import HeldOut

#: Names in a file of hooks that mean what they do in `compress`.
SETTINGS = (
    "optimizer",
    "loss",
    "metrics",
    "loss_weights",
    "weighted_metrics",
    "class_weight",
    "steps_per_epoch",
    "validation_steps",
)


def load_model(path):
    """Loads a saved model.

    Args:
        path: string, a `.keras` or `.h5` file.

    Raises:
        InputError: if it is no such file, or cannot be read.
    """
    check_model_path(path)
    if path.endswith(".keras") and not zipfile.is_zipfile(path):
        raise InputError(
            "Expected a .keras file as Keras saves it, a zip archive; this one is "
            f"truncated or not a Keras file. Received: {path!r}"
        )
    try:
        return keras.models.load_model(path)
    except Exception as error:
        raise InputError(
            "Expected a file that `keras.models.load_model` reads; --import=FILE loads "
            f"custom layers before ({type(error).__name__}: {error}). "
            f"Received: {path!r}"
        ) from error


def find_model(source):
    """The model of a model file, or of a Python file or module.

    Args:
        source: string.

    Raises:
        InputError: if there is none.
    """
    if source.endswith(MODEL_SUFFIXES):
        return load_model(source)
    return _hooked_model(hooks.load(source))


def _hooked_model(module):
    model = getattr(module, "model", None)
    if callable(model) and not isinstance(model, keras.Model):
        model = hooks.call(module, "model")
    if isinstance(model, (str, pathlib.Path)):
        model = load_model(str(model))
    if not isinstance(model, keras.Model):
        raise InputError(
            "Expected `model` to be or to return a keras.Model, or the path of one. "
            f"Received: {model!r}"
        )
    return model


@dataclasses.dataclass
class Source:
    """What a job starts from.

    Attributes:
        model: the dense `keras.Model`.
        train, validation: data in a form that `fit` takes; validation or None, and
            without training both may be.
        settings: dict with some of `SETTINGS`.
        options: dict, further options of `prune_model`.
        classes: list of the names of the model's outputs, or None.
    """

    model: Any
    train: Any
    validation: Any
    settings: dict
    options: dict
    classes: list | None = None

    def given(self, *names):
        """Those of the named settings that there are, as a dict."""
        return {n: self.settings[n] for n in names if n in self.settings}

    def held_out(self, batch_size):
        """The validation data, or without them the training data, as a `HeldOut`."""
        data = self.train if self.validation is None else self.validation
        return HeldOut(data, batch_size, self.settings.get("validation_steps"))

    def optimizer(self, steps):
        """The optimizer, which may depend on the number of steps, or None."""
        found = self.settings.get("optimizer")
        if inspect.isfunction(found):
            return found(steps)
        return found


def read_source(source, values, model=None, trains=True):
    """Reads model and data.

    Args:
        source: string, a Python file or module with hooks, or a folder of images;
            without training also a model file.
        values: parsed flags of `define_data`.
        model: `keras.Model` or None; None: that of the hooks.
        trains: bool, whether training data are needed.

    Returns:
        A `Source`.

    Raises:
        InputError: if something is missing or wrong.
    """
    if pathlib.Path(source).is_dir():
        train, validation, settings, classes = read_images(source, model, values)
        return Source(model, train, validation, settings, {}, classes)
    if not trains and source.endswith(MODEL_SUFFIXES):
        model = load_model(source) if model is None else model
        return Source(model, None, None, {}, {})
    module = hooks.load(source)
    model = _hooked_model(module) if model is None else model
    train = validation = None
    if trains or hasattr(module, "data"):
        train, validation = hooks.train_and_validation(module)
    settings = {n: getattr(module, n) for n in SETTINGS if hasattr(module, n)}
    options = getattr(module, "options", {})
    if not isinstance(options, dict):
        raise InputError(
            "Expected `options` as a dict of arguments of prune_model. "
            f"Received: {options!r}"
        )
    return Source(model, train, validation, settings, dict(options))
