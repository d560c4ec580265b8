"""Runs the README's Python as it is printed, with the installed package.

Called by `make wheel` and `test_wheel.py` in an environment that holds the wheel and
its requirements, nothing of the checkout: python wheel_readme.py README.md
"""

import pathlib
import re
import sys

import keras
import numpy as np
import tensorflow as tf


def names():
    """What the reader has: a model, data and a loss."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 1)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, np.arange(64) % 4)).batch(16)
    inputs = keras.Input((8, 8, 1))
    h = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    h = keras.layers.ReLU()(keras.layers.BatchNormalization()(h))
    h = keras.layers.Conv2D(16, 3, activation="relu")(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    return {
        "model": keras.Model(inputs, keras.layers.Dense(4)(h), name="small"),
        "train": data,
        "val": data,
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }


def main(readme):
    text = pathlib.Path(readme).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    found = names()
    for block in blocks:
        exec(compile(block, readme, "exec"), found)
    package = sys.modules["tf_lossprune"]
    assert pathlib.Path("compact.tflite").stat().st_size > 1000
    print(f"{len(blocks)} blocks of {readme} ran with {package.__file__}")


if __name__ == "__main__":
    main(sys.argv[1])
