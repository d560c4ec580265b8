"""Masks at the output: `fit` and `evaluate` show what Keras shows."""

import warnings

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune

layers = keras.layers


class MaskedLossesTest(parameterized.TestCase):
    def test_padding_counts_in_no_loss_and_no_metric(self):
        inputs = keras.Input((4,), dtype="int32")
        x = layers.Embedding(20, 6, mask_zero=True)(inputs)
        x = layers.LSTM(8, return_sequences=True)(x)
        model = keras.Model(inputs, layers.Dense(3)(x))
        rng = np.random.default_rng(0)
        x = rng.integers(1, 20, (32, 4)) * (np.arange(4) < rng.integers(1, 5, (32, 1)))
        y = rng.integers(0, 3, x.shape)
        pruned = tf_lossprune.prune_model(
            model, {"macs": 0.5}, schedule=tf_lossprune.Schedule(0.5, total_steps=100)
        )
        shown = []
        for network in (model, pruned):
            network.compile(
                keras.optimizers.SGD(0.1),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                before = network.evaluate(x, y, verbose=0)
                after = network.fit(x, y, 16, 1, verbose=0, shuffle=False).history
            shown.append([*before, after["loss"][0], after["accuracy"][0]])
        padding = model.evaluate(x, np.where(x == 0, (y + 1) % 3, y), verbose=0)
        np.testing.assert_allclose(padding, model.evaluate(x, y, verbose=0), rtol=1e-5)
        np.testing.assert_allclose(*shown, rtol=1e-4)
