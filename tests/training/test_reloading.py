"""What a file of a pruned model needs is said when it is written."""

import tempfile

import keras
import numpy as np
from absl.testing import parameterized
from keras import layers, ops

import tf_lossprune


def relu(x):
    return ops.tanh(x)


def bent(x):
    return ops.sin(x)


@keras.saving.register_keras_serializable("test_reloading")
def registered(x):
    return ops.cos(x)


class Unregistered(layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x, training=None):
        # Other code in training, or it would be opened.
        return ops.tanh(x) if training else self.factor * x


class Forgetful(Unregistered):
    def get_config(self):
        return {"name": self.name}


def pruned_of(layer):
    inputs = keras.Input((4,))
    x = layers.Dense(16, activation="relu")(inputs)
    x = layer(layers.Dense(8)(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    return tf_lossprune.prune_model(
        model, {"params": 0.7}, method="uniform", channel_multiple=1
    )


class ReloadingTest(parameterized.TestCase):
    def path(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return f"{folder.name}/pruned.keras"

    @parameterized.parameters("forgetful", "namesake")
    def test_what_no_file_can_hold_is_refused_and_named(self, kind):
        layer = {
            "forgetful": lambda: Forgetful(2.0, name="odd"),
            "namesake": lambda: layers.Activation(relu, name="odd"),
        }[kind]()
        pruned = pruned_of(layer)
        with self.assertRaisesRegex(ValueError, "register.*'odd'"):
            pruned.save(self.path())
        tf_lossprune.strip_pruning(pruned)

    @parameterized.parameters("layer", "function")
    def test_what_reading_needs_is_said(self, kind):
        layer = Unregistered(2.0) if kind == "layer" else layers.Activation(bent)
        name = "Unregistered" if kind == "layer" else "bent"
        pruned, path = pruned_of(layer), self.path()
        with self.assertWarnsRegex(UserWarning, name):
            pruned.save(path)
        again = keras.saving.load_model(
            path, custom_objects={"Unregistered": Unregistered, "bent": bent}
        )
        x = np.ones((2, 4), "float32")
        np.testing.assert_allclose(again(x), pruned(x), rtol=1e-5)

    def test_registered_functions_need_nothing(self):
        pruned, path = pruned_of(layers.Activation(registered)), self.path()
        pruned.save(path)
        again = keras.saving.load_model(path)
        x = np.ones((2, 4), "float32")
        np.testing.assert_allclose(again(x), pruned(x), rtol=1e-5)
