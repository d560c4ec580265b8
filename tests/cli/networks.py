"""A small network and its files, for the tests of the command line."""

import keras
import numpy as np

from tf_lossprune.cli import main

#: Hooks as a user writes them; the data is the same in every run.
HOOKS = """
import keras
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(64, 8, 8, 1)).astype("float32")
y = rng.integers(0, 3, 64)


def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    h = keras.layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    h = keras.layers.Conv2D(8, 3, activation="relu", name="second")(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(h), name="tiny")


def data():
    return (x, y), (x, y)


loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
metrics = ["accuracy"]
"""


def network(activation=None, channels=1):
    inputs = keras.Input((8, 8, channels))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    head = keras.layers.Dense(3, activation=activation, name="head")
    return keras.Model(inputs, head(x), name="tiny")


def write_images(folder, classes=("cat", "cow", "dog"), count=6, size=(8, 8, 1)):
    """Writes noise as one folder of images for each class."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 255, size).astype("float32")
            keras.utils.save_img(folder / name / f"{index}.png", image, scale=False)
    return folder


def lossprune(*arguments):
    """Runs a command in this process; returns the exit code."""
    return main(["lossprune", *map(str, arguments)])
