"""The data of the examples: scikit-learn's digits, Fashion-MNIST and CIFAR-10.

All are small enough to live in memory. A validation split is held out of the
training images so that every choice can be made without the test images.
"""

import dataclasses
import gzip
import importlib.util
import pathlib
from typing import Any

import numpy as np

from examples.image_files import read_npz

# Where the Debian package dataset-fashion-mnist puts its files.
FASHION_MNIST_DIR = pathlib.Path("/usr/share/datasets/fashion-mnist")
_SPLIT_SEED = 20
#: Mean and deviation of CIFAR-10's pixels in [0, 1], for each colour.
CIFAR10_MEAN = np.array([0.4914, 0.4822, 0.4465], "float32")
CIFAR10_DEVIATION = np.array([0.2470, 0.2435, 0.2616], "float32")


@dataclasses.dataclass(frozen=True)
class Data:
    """Images and labels in three splits.

    Attributes:
        name: "digits", "fashion_mnist" or "cifar10".
        source: Where the data came from.
        x_train: float32 images `(n, height, width, channels)`, normalised.
        y_train: int32 labels `(n,)`; the other splits likewise.
        x_val: Validation images, held out of the training images.
        y_val: Validation labels.
        x_test: Test images.
        y_test: Test labels.
        shift: Largest random shift in pixels that suits the images.
        flip: Whether mirrored images are images of the same class.
    """

    name: str
    source: str
    x_train: Any
    y_train: Any
    x_val: Any
    y_val: Any
    x_test: Any
    y_test: Any
    shift: int = 1
    flip: bool = False

    @property
    def input_shape(self):
        """Shape of one image."""
        return self.x_train.shape[1:]

    @property
    def classes(self):
        """Number of classes."""
        return int(self.y_train.max()) + 1

    @property
    def minimum(self):
        """The smallest pixel value, which pads shifted images."""
        return float(self.x_train.min())


def _hold_out(count, size):
    """Deterministic indices `(rest, held_out)` with `size` of `count` held out."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    return np.sort(order[size:]), np.sort(order[:size])


def load_digits():
    """The 1797 8x8 digits that ship with scikit-learn: 1149 / 288 / 360.

    Returns:
        `Data`; pixels scaled to [0, 1], then to mean 0 and deviation 1.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError as error:
        raise ImportError(
            "The digits ship with scikit-learn: pip install scikit-learn"
        ) from error
    digits = sklearn_digits()
    x = ((digits.images[..., None] / 16.0 - 0.3053) / 0.3761).astype("float32")
    y = digits.target.astype("int32")
    rest, test = _hold_out(len(x), 360)
    train, val = (rest[i] for i in _hold_out(len(rest), 288))
    return Data(
        "digits",
        "scikit-learn",
        *(a[i] for i in (train, val, test) for a in (x, y)),
        shift=1,
        flip=False,
    )


def _read_idx(path):
    with gzip.open(path, "rb") as file:
        raw = file.read()
    # IDX: two zero bytes, the type (8 = uint8), the rank, big-endian sizes, data.
    if raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"Expected an IDX file of bytes. Received: {path}")
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _fashion_arrays():
    if FASHION_MNIST_DIR.is_dir():
        arrays = [
            _read_idx(FASHION_MNIST_DIR / f"{part}-{kind}.gz")
            for part in ("train", "t10k")
            for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        return "dataset-fashion-mnist (Debian)", arrays
    import keras

    train, test = keras.datasets.fashion_mnist.load_data()
    return "keras.datasets", [*train, *test]


def load_fashion_mnist(validation=5000):
    """Fashion-MNIST: 55,000 / 5,000 / 10,000 28x28 images of ten articles.

    Read from the Debian package dataset-fashion-mnist where it is installed, else
    through `keras.datasets`.

    Args:
        validation: Number of training images held out for validation.

    Returns:
        `Data`; pixels as `(x / 255 - 0.2860) / 0.3530`.

    Reference:
        Xiao et al., Fashion-MNIST, arXiv 1708.07747.
    """
    source, (x, y, x_test, y_test) = _fashion_arrays()

    def images(pixels):
        return (pixels[..., None].astype("float32") / 255.0 - 0.2860) / 0.3530

    train, val = _hold_out(len(x), validation)
    x, y = images(x), y.astype("int32")
    return Data(
        "fashion_mnist",
        source,
        *(a[i] for i in (train, val) for a in (x, y)),
        images(x_test),
        y_test.astype("int32"),
        shift=2,
        flip=True,
    )


def load_cifar10(path=None, validation=5000):
    """CIFAR-10: 45,000 / 5,000 / 10,000 colour images of 32x32 pixels, ten classes.

    Args:
        path: An `.npz` file to read in place of `keras.datasets.cifar10`, as in
            `examples.image_files.read_npz`.
        validation: Number of training images, the last ones, held out for validation.

    Returns:
        `Data`; pixels scaled to [0, 1], then each colour to mean 0 and deviation 1.

    Raises:
        ValueError: If the file is another one, or has too few images.

    Reference:
        Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    if path is None:
        import keras

        (x, y), (x_test, y_test) = keras.datasets.cifar10.load_data()
        source = "keras.datasets"
    else:
        x, y, x_test, y_test = read_npz(path)
        source = str(path)
    if len(x) <= validation:
        raise ValueError(
            f"Expected more than the {validation} training images that are held out. "
            f"Received: {len(x)} in {source}"
        )

    def images(pixels):
        return (pixels.astype("float32") / 255.0 - CIFAR10_MEAN) / CIFAR10_DEVIATION

    def classes(labels):
        return labels.reshape(-1).astype("int32")

    x, y = images(x), classes(y)
    rest, held_out = slice(len(x) - validation), slice(len(x) - validation, None)
    return Data(
        "cifar10",
        source,
        *(a[part] for part in (rest, held_out) for a in (x, y)),
        images(x_test),
        classes(y_test),
        shift=4,
        flip=True,
    )


def load(name, path=None, validation=5000):
    """Loads a data set by its name.

    Args:
        name: "digits", "fashion_mnist" or "cifar10".
        path: As in `load_cifar10`; the others have no files.
        validation: Number of validation images; the digits have a split of their own.

    Returns:
        `Data`.

    Raises:
        ValueError: If there is no such data set, or a path for one that takes none.
    """
    if path is not None and name != "cifar10":
        raise ValueError(
            f"Only cifar10 is read from a file. Received: {name!r}, {path!r}"
        )
    if name == "digits":
        return load_digits()
    if name == "fashion_mnist":
        return load_fashion_mnist(validation)
    if name == "cifar10":
        return load_cifar10(path, validation)
    raise ValueError(
        "The data set must be 'digits', 'fashion_mnist' or 'cifar10'. "
        f"Received: {name!r}"
    )


def augment(x, seed, shift=2, flip=True, fill=0.0):
    """Random shift and mirror image of every image of a batch, in a few ops.

    Args:
        x: float tensor `(batch, height, width, channels)`.
        seed: int tensor of two numbers; the same seed gives the same result.
        shift: Largest shift in pixels, in both directions.
        flip: Whether to mirror half of the images.
        fill: Value of the pixels shifted in.

    Returns:
        A tensor shaped like `x`.
    """
    import tensorflow as tf

    batch, height, width = tf.shape(x)[0], x.shape[1], x.shape[2]
    draws = tf.random.stateless_uniform(
        (3, batch), seed, 0, 2 * shift + 1, dtype=tf.int32
    )
    mirrored = tf.random.stateless_uniform((batch, 1), seed) < 0.5
    rows = tf.range(height)[None] + draws[0, :, None]
    columns = tf.range(width)[None]
    if flip:
        columns = tf.where(mirrored, width - 1 - columns, columns)
    columns = columns + draws[1, :, None]
    pads = [[0, 0], [shift, shift], [shift, shift], [0, 0]]
    x = tf.pad(x, pads, constant_values=fill)
    x = tf.gather(x, rows, axis=1, batch_dims=1)
    return tf.gather(x, columns, axis=2, batch_dims=1)


def datasets(
    data, batch_size=128, seed=0, augment=True, use_validation=True, limit=None
):
    """Batches of the splits, deterministic for a seed.

    `tf.data` pipelines; without TensorFlow, `keras.utils.PyDataset`s.

    Args:
        data: A `Data`.
        batch_size: Images in a batch.
        seed: Seed of the order and of the augmentation.
        augment: Whether training images are shifted (and mirrored, where `data`
            allows it); both differ from epoch to epoch.
        use_validation: If False, validation images are trained on as well, for the
            final run of a protocol whose choices have been made.
        limit: Number of training images to use (for quick tries); None: all.

    Returns:
        `(train, validation, test)` datasets of `(images, labels)` batches;
        `validation` is None if `use_validation` is False.

    Raises:
        TypeError: If `data` is not a `Data`.
    """
    if not isinstance(data, Data):
        raise TypeError(f"`data` must be a `Data`. Received: {type(data).__name__}")
    x, y, val = data.x_train, data.y_train, None
    if use_validation:
        val = evaluation(data.x_val, data.y_val, batch_size)
    else:
        x, y = np.concatenate([x, data.x_val]), np.concatenate([y, data.y_val])
    x, y = x[:limit], y[:limit]
    train = _training(data, x, y, batch_size, seed, augment)
    return train, val, evaluation(data.x_test, data.y_test, batch_size)


def _has_tensorflow():
    return importlib.util.find_spec("tensorflow") is not None


def _training(data, x, y, batch_size, seed, with_augmentation):
    if not _has_tensorflow():
        from examples.batches import ArrayBatches

        if not with_augmentation:
            return ArrayBatches(x, y, batch_size, seed)
        return ArrayBatches(x, y, batch_size, seed, data.shift, data.flip, data.minimum)
    import tensorflow as tf

    with tf.device("CPU"):
        x, y, fill = tf.constant(x), tf.constant(y), data.minimum

    def fetch(index, draw):
        images = tf.gather(x, index)
        if with_augmentation:
            images = augment(images, draw, data.shift, data.flip, fill)
        return images, tf.gather(y, index)

    # Shuffling indices and fetching a batch at once costs far less than shuffling
    # images; seeds that travel with the batch keep parallel calls deterministic.
    order = tf.data.Dataset.range(len(x)).shuffle(len(x), seed=seed).batch(batch_size)
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    batches = tf.data.Dataset.zip(order, draws).map(
        fetch, num_parallel_calls=2, deterministic=True
    )
    return _without_autotuning(batches.prefetch(2))


def evaluation(x, y, batch_size):
    """Batches of images and labels in their order, as they are.

    Args:
        x: Images.
        y: Labels.
        batch_size: Images in a batch.

    Returns:
        A dataset of `(images, labels)` batches.
    """
    if not _has_tensorflow():
        from examples.batches import ArrayBatches

        return ArrayBatches(x, y, batch_size)
    import tensorflow as tf

    images = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
    return _without_autotuning(images.prefetch(2))


def _without_autotuning(dataset):
    """Leaves the pipeline as it is written.

    TensorFlow's thread that tunes a pipeline sleeps twice as long each time, up to a
    minute, and the end of an iterator waits for it to wake up: `fit` and `evaluate`
    would return that much later.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
