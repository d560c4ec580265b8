"""Reads image files in batches, with TensorFlow."""

import dataclasses
import re

import keras
import tensorflow as tf

#: The most that `augmented` rotates an image by.
DEGREES = 10.0
_GREY, _COLOURS, _TRANSPARENT = 1, 3, 4


@dataclasses.dataclass(frozen=True)
class Form:
    """What images and labels become.

    Attributes:
        size: `(height, width)`.
        channels: int.
        labels: `"int"`, `"binary"` (floats in a column), or the number of classes
            (one-hot).
        low, high: floats, what black and white are.
    """

    size: tuple
    channels: int
    labels: str | int
    low: float
    high: float


def try_image(path, channels):
    """Decodes a file.

    Args:
        path: path.
        channels: int.

    Returns:
        A bool: whether it has to be decoded in colours and converted, since its
        format knows no such channels.

    Raises:
        ValueError: if it cannot be read; says why in a few words.
    """
    try:
        content = tf.io.read_file(bytes(path))
        try:
            _decoded(content, channels)
            return False
        except (tf.errors.OpError, ValueError):
            _decoded(content, _COLOURS)
            return True
    except (tf.errors.OpError, ValueError) as error:
        text = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", str(error), flags=re.DOTALL)
        raise ValueError(" ".join(text.split()).rstrip(".")) from None


def read(paths, flags, labels, form, batch_size, seed):
    """A `tf.data.Dataset` of batches of images and labels.

    Args:
        paths: array of bytes.
        flags: array of what `try_image` found for each.
        labels: int array.
        form: `Form`.
        batch_size: int.
        seed: int, for the order; None: as they stand.
    """
    if form.labels == "binary":
        labels = labels.astype("float32")[:, None]
    elif form.labels != "int":
        labels = tf.one_hot(labels, form.labels)
    factor = (form.high - form.low) / 255.0

    def load(path, in_colours, label):
        content = tf.io.read_file(path)
        image = tf.cond(
            in_colours,
            lambda: _converted(_decoded(content, _COLOURS), form.channels),
            lambda: _decoded(content, form.channels),
        )
        image = tf.image.resize(image, form.size)
        image.set_shape((*form.size, form.channels))
        return image * factor + form.low, label

    data = tf.data.Dataset.from_tensor_slices((paths.tolist(), flags, labels))
    if seed is not None:
        data = data.shuffle(max(len(paths), 1), seed=seed)
    data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def augmented(data, names, form, seed):
    """The same images, changed at random: other ones in each pass.

    Args:
        data: `tf.data.Dataset` of batches of images and labels.
        names: list of strings: `"flip"`, left to right; `"crop"`, out of a margin of an
            eighth; `"rotate"`, by at most ten degrees.
        form: `Form`.
        seed: int.
    """
    margins = [max(1, size // 8) for size in form.size]
    black = {"fill_mode": "constant", "fill_value": form.low}
    layers = {
        "flip": lambda: [keras.layers.RandomFlip("horizontal", seed=seed)],
        "crop": lambda: [
            keras.layers.RandomTranslation(
                *(margin / size for margin, size in zip(margins, form.size)),
                interpolation="nearest",
                seed=seed + 1,
                **black,
            )
        ],
        "rotate": lambda: [
            keras.layers.RandomRotation(DEGREES / 360.0, seed=seed + 2, **black)
        ],
    }
    found = [layer for name in names for layer in layers[name]()]

    def change(images, labels):
        for layer in found:
            images = layer(images, training=True)
        return images, labels

    # One batch at a time, so that the draws come in the same order in each run.
    return data.map(change).prefetch(tf.data.AUTOTUNE) if found else data


def _decoded(content, channels):
    return tf.io.decode_image(content, channels=channels, expand_animations=False)


def _converted(image, channels):
    """An image in colours with the channels that its format does not know."""
    if channels == _GREY:
        return tf.image.rgb_to_grayscale(image)
    if channels == _TRANSPARENT:
        opaque = tf.ones_like(image[..., :1]) * tf.uint8.max
        return tf.concat([image, opaque], axis=-1)
    return image
