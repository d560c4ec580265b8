"""A compact network is put back into a model with methods of its own."""

import unittest

import keras
import numpy as np
from absl.testing import absltest
from keras import layers

import tf_lossprune


class Task(keras.Model):
    """A functional model as keras-hub's tasks are."""

    def __init__(self, preprocessor):
        self.backbone = keras.Sequential(
            [
                keras.Input((12, 12, 3)),
                layers.Conv2D(8, 3, activation="relu"),
                layers.GlobalAveragePooling2D(),
            ]
        )
        self.head = layers.Dense(3)
        self.preprocessor = preprocessor
        x = keras.Input((12, 12, 3))
        super().__init__(x, {"scores": self.head(self.backbone(x))}, name="task")
        self.labels = ["a", "b", "c"]
        self.known = {id(layer) for layer in self._flatten_layers()}

    @property
    def layers(self):
        found = super().layers
        return (
            [la for la in found if id(la) in self.known]
            if "known" in vars(self)
            else found
        )

    def predict(self, images, **kwargs):
        scores = super().predict(self.preprocessor(images), verbose=0)["scores"]
        return [self.labels[i] for i in np.argmax(scores, -1)]


def task():
    keras.utils.set_random_seed(0)
    return Task(layers.Resizing(12, 12))


class ReplacementTest(absltest.TestCase):
    def test_the_task_predicts_with_the_compact_network(self):
        dense = task()
        pruned = tf_lossprune.prune_model(
            dense, {"macs": 0.5}, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
        small = tf_lossprune.with_network(dense, compact)
        self.assertIsInstance(small, Task)
        self.assertEqual(small.count_params(), compact.count_params())
        self.assertIs(small.preprocessor, dense.preprocessor)
        self.assertIsNone(small.backbone)
        self.assertIsNotNone(dense.backbone)
        images = np.random.default_rng(0).normal(size=(4, 20, 20, 3))
        found = compact.predict(dense.preprocessor(images), verbose=0)["scores"]
        self.assertEqual(
            small.predict(images), ["abc"[i] for i in np.argmax(found, -1)]
        )
        self.assertLen(small.layers, len(compact.layers))
        small.compile("sgd", "sparse_categorical_crossentropy")
        images = np.random.default_rng(0).normal(size=(4, 12, 12, 3))
        small.fit(images, {"scores": np.arange(4) % 3}, verbose=0)

    def test_another_network_is_refused(self):
        x = keras.Input((12, 12, 3))
        other = keras.Model(x, layers.Flatten()(x))
        with self.assertRaisesRegex(ValueError, "returns what the model.*Received"):
            tf_lossprune.with_network(task(), other)
        with self.assertRaisesRegex(TypeError, "functional.*Received.*Dense"):
            tf_lossprune.with_network(task(), layers.Dense(2))


if __name__ == "__main__":
    unittest.main()
