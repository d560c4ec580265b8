"""What has to work on every backend that trains; `make test-jax` runs it on JAX."""

import os
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tests.backends.trace_ratios import digits, run
from tests.training import small

# On TensorFlow, the tests of training say the same and more.
pytestmark = pytest.mark.long


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class TrainingTest(parameterized.TestCase):
    def test_fit_keeps_the_budget_and_strips(self):
        x, y = digits()
        model = models.digits_resnet()
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, channel_multiple=1)
        optimizer = keras.optimizers.Adam(0.01)
        pruned.compile(optimizer, cross_entropy(), metrics=["accuracy"])
        history = pruned.fit(
            x, y, validation_data=(x, y), batch_size=64, epochs=8, verbose=0
        ).history
        self.assertEqual(history["phase"][-1], 2.0)
        self.assertGreater(history["val_accuracy"][-1], 0.4)
        compact = tf_lossprune.strip_pruning(pruned)
        dense = tf_lossprune.cost(model)["macs"]
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], 0.5 * dense)
        expected = keras.ops.convert_to_numpy(pruned(x[:8], training=False))
        actual = keras.ops.convert_to_numpy(compact(x[:8], training=False))
        np.testing.assert_allclose(expected, actual, rtol=1e-3, atol=1e-4)

    def test_compress_with_a_teacher(self):
        x, y = digits()
        compact, result = tf_lossprune.compress(
            models.digits_resnet(),
            {"macs": 0.5},
            (x, y),
            (x, y),
            epochs=3,
            batch_size=64,
            search_epochs=1.5,
            distill=True,
            optimizer=keras.optimizers.SGD(0.01),
            loss=cross_entropy(),
            metrics=["accuracy"],
            verbose=0,
        )
        self.assertLessEqual(result.compact["macs"], 0.5 * result.dense["macs"])
        self.assertEqual(tf_lossprune.cost(compact)["macs"], result.compact["macs"])

    def test_frontier(self):
        x, y = digits()
        found = tf_lossprune.compress_frontier(
            models.digits_resnet(),
            [0.7, 0.4],
            (x, y),
            epochs=2,
            batch_size=64,
            search_epochs=1,
            optimizer=keras.optimizers.SGD(0.01),
            loss=cross_entropy(),
            verbose=0,
        )
        for share, (_, result) in zip((0.7, 0.4), found, strict=True):
            self.assertLessEqual(result.compact["macs"], share * result.dense["macs"])

    def test_saved_in_the_middle_of_the_search_it_goes_on(self):
        x, y = digits()
        pruned = tf_lossprune.prune_model(
            models.digits_resnet(),
            {"macs": 0.5},
            schedule=tf_lossprune.Schedule(search=1.0, total_steps=16),
        )
        pruned.compile("adam", cross_entropy())
        pruned.fit(x, y, batch_size=64, epochs=1, shuffle=False, verbose=0)
        self.assertEqual(pruned.phase, "search")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            pruned.save(path)
            again = keras.models.load_model(path)
        for model in (pruned, again):
            model.fit(x, y, batch_size=64, epochs=1, shuffle=False, verbose=0)
            self.assertEqual(model.phase, "fixed")
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(pruned.search.log_ratio.value),
            keras.ops.convert_to_numpy(again.search.log_ratio.value),
            atol=1e-5,
        )
        self.assertEqual(pruned.kept_channels(), again.kept_channels())

    @parameterized.parameters("fit", "train_on_batch")
    def test_inside_another_model_with_open_widths(self, call):
        """On JAX a traced step sees no values, so the host has to know."""
        outer, _ = self.made_part_of_another()
        with self.assertRaisesRegex(ValueError, "decide().*Received: "):
            getattr(outer, call)(*small.data())

    def test_inside_another_model_with_fixed_widths(self):
        outer, pruned = self.made_part_of_another()
        open_weights = pruned.get_weights()
        pruned.decide()
        kept, kernel = pruned.kept_channels(), pruned.trainable_weights[0]
        before = keras.ops.convert_to_numpy(kernel.value).copy()
        outer.fit(*small.data(), verbose=0)
        self.assertEqual(pruned.kept_channels(), kept)
        after = keras.ops.convert_to_numpy(kernel.value)
        self.assertGreater(np.abs(after - before).max(), 0.0)
        # Opened again by hand, not by a method of the model.
        pruned.set_weights(open_weights)
        with self.assertRaisesRegex(ValueError, "decide().*Received: "):
            outer.train_on_batch(*small.data())

    def made_part_of_another(self):
        pruned = small.prune(small.network())
        x, _ = small.data()
        inputs = keras.Input(x.shape[1:])
        outer = keras.Model(inputs, pruned(inputs))
        return small.compile_model(outer, jit_compile="auto"), pruned

    def test_random_gates_move_on(self):
        rows, _ = run(8, sampler="hard")
        other, _ = run(8)
        self.assertGreater(np.abs(rows - other).max(), 0.0)

    @pytest.mark.skipif(
        keras.backend.backend() == "tensorflow", reason="TensorFlow does convert."
    )
    def test_litert_is_for_tensorflow(self):
        model = models.digits_resnet()
        with self.assertRaisesRegex(ValueError, "KERAS_BACKEND=tensorflow.*Received: "):
            tf_lossprune.to_litert(model, "model.tflite")
        with self.assertRaisesRegex(ValueError, "KERAS_BACKEND=tensorflow.*Received: "):
            tf_lossprune.prune_model(model, {"size_bytes": 0.5}, method="uniform")
        with self.assertRaisesRegex(ValueError, "KERAS_BACKEND=tensorflow.*Received: "):
            tf_lossprune.deploy.calibrate_latency(model)

    @parameterized.parameters("uniform", "magnitude")
    def test_one_shot(self, method):
        model = models.build("squeeze_excite_net", input_shape=(16, 16, 3), width=8)
        models.randomize(model, 0)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method=method)
        compact = tf_lossprune.strip_pruning(pruned)  # compares the outputs
        dense = tf_lossprune.cost(model)["macs"]
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], 0.5 * dense)
