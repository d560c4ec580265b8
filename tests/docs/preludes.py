"""What the reader of a page has before its first block: a model, data, a loss.

The pages say `model` and `train` where the reader's own come in. Here they are as
small as they can be; what is tested is that the code runs as it is printed.
"""

import csv
import pathlib

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import tf_lossprune

SIZE, CLASSES, SAMPLES, BATCH = 8, 4, 32, 16


def _network(size=SIZE, channels=1):
    """Two blocks of convolution, batch normalisation and ReLU, with a skip path."""
    inputs = keras.Input((size, size, channels))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(16, 3, padding="same", use_bias=False, name="block")(x)
    x = layers.Add()([x, layers.ReLU()(layers.BatchNormalization()(y))])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="head")(x), name="small")


def _images(size=SIZE, channels=1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, size, size, channels)).astype("float32")
    return x, rng.integers(0, CLASSES, SAMPLES)


def _batches(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)


def common():
    """A small classifier, its data and what trains it."""
    x, y = _images()
    train = _batches(x, y)
    return {
        "keras": keras,
        "tf": tf,
        "np": np,
        "tf_lossprune": tf_lossprune,
        "model": _network(),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "optimizer": keras.optimizers.SGD(0.01, momentum=0.9),
        "steps": 10,
        "train": train,
        "val": train,
        "test": train,
        "x_train": x,
        "x_test": x,
        "y_test": y,
    }


def compressed():
    """Also the model pruned, and its compact network."""
    names = common()
    pruned = tf_lossprune.prune_model(names["model"], {"macs": 0.5}, method="uniform")
    return {
        **names,
        "pruned": pruned,
        "compact": tf_lossprune.strip_pruning(pruned),
    }


def latency():
    """Also the files that a phone's owner would have: times of its operations."""
    names = common()
    table = tf_lossprune.deploy.calibrate_latency(names["model"])
    table.save("phone.json")
    tf_lossprune.deploy.export_probes(names["model"], "probes")
    with open("probes/probes.csv", newline="") as file:
        files = [row["file"] for row in csv.DictReader(file)]
    times = "".join(f"{name},{10.0 + i}\n" for i, name in enumerate(files))
    times = f"file,microseconds\n{times}"
    pathlib.Path("times.csv").write_text(times)
    return names


def keras2():
    """Also a model of Keras 2 in a file."""
    import tf_keras

    inputs = tf_keras.Input((SIZE, SIZE, 1))
    x = tf_keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = tf_keras.layers.GlobalAveragePooling2D()(x)
    outputs = tf_keras.layers.Dense(CLASSES)(x)
    tf_keras.Model(inputs, outputs).save("old.h5")
    return {**compressed(), "tf_keras": tf_keras}


def recipes():
    """Networks and data of several kinds, all with images of 32x32 pixels."""
    size = 32
    x, y = _images(size, 3)
    rng = np.random.default_rng(1)
    masks = (rng.random((SAMPLES, size, size, 1)) < 0.5).astype("float32")
    cells = {
        "classes": rng.integers(0, 2, (SAMPLES, 8, 8, 3)).astype("float32"),
        "boxes": rng.random((SAMPLES, 8, 8, 4)).astype("float32"),
    }
    sounds = rng.normal(size=(SAMPLES, 49, 10, 1)).astype("float32")
    words = rng.integers(0, 12, SAMPLES)
    train = _batches(x, y)
    return {
        **common(),
        "resnet": _network(size, 3),
        "weights": None,
        "train": train,
        "val": train,
        "train_masks": _batches(x, masks),
        "val_masks": _batches(x, masks),
        "x_masks": x,
        "y_masks": masks,
        "train_cells": _batches(x, cells),
        "val_cells": _batches(x, cells),
        "train_words": _batches(sounds, words),
        "val_words": _batches(sounds, words),
        "sounds": sounds,
        "photos": x,
        "labels": y,
    }
