"""What a user does first, with the installed package: prune, fit, strip, convert.

Run by `test_wheel.py` in an environment that holds the wheel and what it needs, and
nothing of the checkout.
"""

import importlib.metadata
import importlib.resources
import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import tf_lossprune


def main(folder):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype("float32")
    y = np.arange(32) % 4
    inputs = keras.Input((8, 8, 1))
    h = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    h = keras.layers.ReLU()(keras.layers.BatchNormalization()(h))
    h = keras.layers.Conv2D(16, 3, activation="relu")(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    model = keras.Model(inputs, keras.layers.Dense(4)(h))
    pruned = tf_lossprune.prune_model(model, {"macs": 0.5})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.compile("adam", loss, metrics=["accuracy"])
    pruned.fit(x, y, batch_size=8, epochs=3, verbose=0)
    compact = tf_lossprune.strip_pruning(pruned)
    compact.save(folder / "compact.keras")
    model.save(folder / "dense.keras")
    table = tf_lossprune.compare(model, compact, (x, y), rounds=1, verbose=False)
    tf_lossprune.to_litert(compact, folder / "int8.tflite", "int8", x)
    figures = {"dense": table.dense, "compact": table.compact}
    widths = [{"name": "conv", "kept": 8, "total": 16}]
    figures |= {"groups": widths, "layers": widths}
    tf_lossprune.report.write_html(folder / "report.html", figures)
    again = tf_lossprune.deploy.to_tf_keras(compact)
    found = {
        "file": tf_lossprune.__file__,
        "typed": importlib.resources.files("tf_lossprune")
        .joinpath("py.typed")
        .is_file(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("tf_lossprune", "keras", "tensorflow", "numpy")
        },
        "tf.keras": tf.keras.__version__,
        "dense": table.dense,
        "compact": table.compact,
        "kept": {name: kept for name, (kept, _) in pruned.kept_channels().items()},
        "tf_keras": type(again).__module__.split(".")[0],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
