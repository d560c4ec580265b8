"""Folders of images, one folder for each class."""

import pathlib

import keras

from tf_lossprune.cli.command import InputError

_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}
_TRAINING = ("train", "training")
_VALIDATION = ("validation", "val", "valid", "test")


def read_images(folder, model, values):
    """Reads training and validation images for a classifier.

    Args:
        folder: path of a folder with one folder of images for each class, or with
            two such folders, `train` and `validation` (or `val`, `test`).
        model: `keras.Model` with one image as its input.
        values: parsed flags of `define_data`.

    Returns:
        `(train, validation, settings)`: two `tf.data.Dataset`s and a dict with what
        the model lacks of `loss` and `metrics`.

    Raises:
        InputError: if the folder, the flags and the model do not fit together.
    """
    height, width, channels = _image_shape(model)
    outputs = _outputs(model)
    loss_name = _loss_name(model)
    options = {
        "image_size": (height, width),
        "color_mode": _MODES[channels],
        "batch_size": values.batch_size,
        "seed": values.seed,
        "label_mode": _label_mode(outputs, loss_name),
        "verbose": False,
    }
    low, high = _pixel_range(values.pixels)
    try:
        train, validation = _read(pathlib.Path(folder), values, options)
    except ValueError as error:
        raise InputError(
            f"Expected a folder with one folder of images for each class ({error}). "
            f"Received: {str(folder)!r}"
        ) from error
    classes = train.class_names
    if outputs not in (len(classes), 1 if len(classes) == 2 else None):
        raise InputError(
            f"Expected as many classes as the model has outputs, {outputs}. Received: "
            f"{len(classes)} folders in {str(folder)!r} ({', '.join(classes[:5])} ...)"
        )

    def scale(dataset):
        if dataset is None or (low, high) == (0.0, 255.0):
            return dataset
        factor = (high - low) / 255.0
        return dataset.map(lambda x, y: (x * factor + low, y)).prefetch(2)

    return scale(train), scale(validation), _settings(model, outputs)


def _read(folder, values, options):
    names = {path.name: path for path in folder.iterdir() if path.is_dir()}
    own = next((names[name] for name in _TRAINING if name in names), None)
    held_out = next((names[name] for name in _VALIDATION if name in names), None)
    read = keras.utils.image_dataset_from_directory
    if own and held_out:
        return read(own, **options), read(held_out, **{**options, "shuffle": False})
    split = values.validation_split
    if not split:
        return read(folder, **options), None
    options = {**options, "validation_split": split}
    return read(folder, subset="both", **options)


def _image_shape(model):
    shape = model.inputs[0].shape[1:]
    if len(model.inputs) != 1 or len(shape) != 3 or None in shape:
        raise InputError(
            "Expected a model with one image of known size as its input, for a folder "
            f"of images. Received: {[tuple(t.shape) for t in model.inputs]}"
        )
    if shape[2] not in _MODES:
        raise InputError(
            f"Expected images with 1, 3 or 4 channels, the last axis. Received: {shape}"
        )
    return shape


def _outputs(model):
    shape = model.outputs[0].shape
    if len(model.outputs) != 1 or len(shape) != 2:
        raise InputError(
            "Expected a model with one vector of class scores as its output, for a "
            f"folder of images. Received: {[tuple(t.shape) for t in model.outputs]}"
        )
    return shape[1]


def _loss_name(model):
    """The name of the loss that the model was compiled with, or an empty string."""
    loss = model.loss if model.compiled else None
    if loss is None:
        return ""
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    name = name or getattr(loss, "__name__", type(loss).__name__)
    return str(name).lower()


def _label_mode(outputs, loss_name):
    if outputs == 1:
        return "binary"
    return "categorical" if loss_name.startswith("categorical") else "int"


def _settings(model, outputs):
    if model.compiled and model.loss is not None:
        return {}
    activation = getattr(model.layers[-1], "activation", None)
    logits = activation in (None, keras.activations.linear)
    if outputs == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=logits)
        accuracy = keras.metrics.BinaryAccuracy(
            "accuracy", threshold=0.5 - 0.5 * logits
        )
        return {"loss": loss, "metrics": [accuracy]}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return {"loss": loss, "metrics": ["accuracy"]}


def _pixel_range(text):
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise InputError(
            f"Expected --pixels as two rising numbers such as 0,1. Received: {text!r}"
        )
    return low, high
