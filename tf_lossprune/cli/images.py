"""Folders of images, one folder for each class."""

import dataclasses
import functools
import math
import pathlib

import keras
import numpy as np

from tf_lossprune.cli.command import InputError
from tf_lossprune.cli.flags import pixel_range
from tf_lossprune.cli.image_files import (
    check_classes,
    check_images,
    find_images,
    find_unlabelled,
)

#: Numbers of channels that images have: grey, colours, and with transparency.
_CHANNELS = (1, 3, 4)
_TRAINING = ("train", "training")
_VALIDATION = ("validation", "val", "valid", "test")
#: Images without labels that are read, of a folder that holds more.
UNLABELLED = 1024


def read_images(folder, model, values):
    """Reads training and validation images for a classifier.

    Args:
        folder: path of a folder with one folder of images for each class, or with
            two such folders, `train` and `validation` (or `val`, `test`).
        model: `keras.Model` with one image as its input.
        values: parsed flags of `define_data`, and `augment` among them or not.

    Returns:
        `(train, validation, settings, classes)`: two `tf.data.Dataset`s, a dict with
        what the model lacks of `loss` and `metrics`, and the names of the classes.

    Raises:
        InputError: if the folder, the flags and the model do not fit together.
    """
    height, width, channels = _image_shape(model)
    outputs = _outputs(model)
    loss_name = _loss_name(model)
    from tf_lossprune.cli import image_batches

    augment = values.augment if "augment" in values else ()
    low, high = pixel_range(values.pixels)
    form = image_batches.Form(
        (height, width), channels, _label_mode(outputs, loss_name), low, high
    )
    decode = functools.partial(image_batches.try_image, channels=channels)
    train, validation, classes = _read(pathlib.Path(folder), values, outputs, decode)

    def batches(images, shuffle):
        if images is None:
            return None
        seed = values.seed if shuffle else None
        read = image_batches.read(
            images.paths, images.flags, images.labels, form, values.batch_size, seed
        )
        return image_batches.augmented(read, augment, form, seed) if shuffle else read

    settings = _settings(model, outputs)
    return batches(train, True), batches(validation, False), settings, classes


def read_unlabelled(folder, model, values):
    """Reads some images for a model, without labels.

    Args:
        folder: path of a folder of images, which may lie in folders inside it.
        model: `keras.Model` with one image as its input.
        values: parsed flags of `define_data`.

    Returns:
        A `tf.data.Dataset` of batches of images, in the same order each time.

    Raises:
        InputError: if the folder, the flags and the model do not fit together.
    """
    height, width, channels = _image_shape(model)
    from tf_lossprune.cli import image_batches

    form = image_batches.Form(
        (height, width), channels, "int", *pixel_range(values.pixels)
    )
    decode = functools.partial(image_batches.try_image, channels=channels)
    files = find_unlabelled(folder)
    some = np.random.default_rng(values.seed).permutation(len(files))[:UNLABELLED]
    files = [files[index] for index in some]
    images = _checked(pathlib.Path(folder), None, files, decode, values.skip_bad_images)
    batches = image_batches.read(
        images.paths, images.flags, images.labels, form, values.batch_size, None
    )
    return batches.map(lambda image, _: image)


@dataclasses.dataclass
class _Images:
    """Checked images.

    Attributes:
        paths: array of paths as bytes.
        flags: array of what `image_batches.try_image` found for each.
        labels: array of floats or ints.
    """

    paths: np.ndarray
    flags: np.ndarray
    labels: np.ndarray

    def __getitem__(self, rows):
        return _Images(self.paths[rows], self.flags[rows], self.labels[rows])

    def __len__(self):
        return len(self.paths)


def _read(folder, values, outputs, decode):
    """Training and validation images, as `_Images`, the latter or None; the classes."""
    names = {path.name: path for path in folder.iterdir() if path.is_dir()}
    own = next((names[name] for name in _TRAINING if name in names), None)
    held_out = next((names[name] for name in _VALIDATION if name in names), None)
    skip = values.skip_bad_images
    if own and held_out:
        classes, train = find_images(own)
        _, validation = find_images(held_out, classes)
        _check_outputs(outputs, classes, own)
        return (
            _checked(own, classes, train, decode, skip),
            _checked(held_out, None, validation, decode, skip),
            classes,
        )
    classes, files = find_images(folder)
    _check_outputs(outputs, classes, folder)
    images = _checked(folder, classes, files, decode, skip)
    images = images[np.random.default_rng(values.seed).permutation(len(images))]
    if not values.validation_split:
        return images, None, classes
    count = math.floor(values.validation_split * len(images))
    if not 0 < count < len(images):
        raise InputError(
            "Expected --validation_split to leave images for both parts. "
            f"Received: {values.validation_split} of {len(images)} images"
        )
    return images[:-count], images[-count:], classes


def _checked(folder, classes, files, decode, skip):
    """Tries all files; every one of `classes` must have some left."""
    if classes is not None:
        check_classes(folder, classes, files)
    files, flags = check_images(files, decode, skip)
    if classes is not None:
        check_classes(folder, classes, files)
    if not files:
        raise InputError(f"Expected images. Received: none in {str(folder)!r}")
    paths = np.array([bytes(path) for path, _ in files], dtype=object)
    labels = np.array([label for _, label in files], "int32")
    return _Images(paths, np.array(flags), labels)


def _check_outputs(outputs, classes, folder):
    if outputs not in (len(classes), 1 if len(classes) == 2 else None):
        raise InputError(
            f"Expected as many classes as the model has outputs, {outputs}. Received: "
            f"{len(classes)} folders in {str(folder)!r} ({', '.join(classes[:5])} ...)"
        )


def _image_shape(model):
    shape = model.inputs[0].shape[1:]
    if len(model.inputs) != 1 or len(shape) != 3 or None in shape:
        raise InputError(
            "Expected a model with one image of known size as its input, for a folder "
            f"of images. Received: {[tuple(t.shape) for t in model.inputs]}"
        )
    if shape[2] not in _CHANNELS:
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
    """How labels are given to the loss: as `image_batches.Form` says."""
    if outputs == 1:
        return "binary"
    return outputs if loss_name.startswith("categorical") else "int"


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
