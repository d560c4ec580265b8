"""The switches that make Keras' training faster: the search learns under each."""

import json
import pathlib
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from tests.training import small
from tf_lossprune.gates import GatedLayer

ROOT = pathlib.Path(__file__).resolve().parents[2]


def array(variable):
    return keras.ops.convert_to_numpy(variable.value)


class AfterWarmup(keras.callbacks.Callback):
    """Keeps the weights after the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.weights = [array(v) for v in self.model.trainable_weights]


def train(pruned=True, policy="float32", **options):
    """A model trained under a policy, its history and its weights after an epoch."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        model = small.network()
        if pruned:
            model = small.prune(model)
        small.compile_model(model, keras.optimizers.SGD(0.05), **options)
        watch = AfterWarmup()
        epochs = small.EPOCHS if pruned else 1
        history = small.fit(model, epochs, callbacks=[watch]).history
    finally:
        keras.config.set_dtype_policy(before)
    return model, history, watch.weights


class SpeedSwitchesTest(parameterized.TestCase):
    def check_learned(self, pruned, history):
        self.assertEqual(pruned.phase, "fixed")
        self.assertEqual(int(pruned.search.step), small.EPOCHS * small.STEPS)
        self.assertTrue(np.isfinite(history["loss"]).all())
        self.assertGreater(np.abs(array(pruned.search.log_ratio)).max(), 1e-3)
        compact = tf_lossprune.strip_pruning(pruned)
        allowed = small.SHARE * pruned.costs["macs"].dense
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], allowed)
        return compact

    def test_mixed_precision(self):
        self.check_mixed_precision("mixed_float16", "float16")

    @pytest.mark.long
    def test_mixed_precision_of_bfloat16(self):
        self.check_mixed_precision("mixed_bfloat16", "bfloat16")

    def check_mixed_precision(self, policy, kind):
        _, _, expected = train(pruned=False, policy=policy)
        pruned, history, weights = train(policy=policy)
        for a, b in zip(weights, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-3)
        scaled = isinstance(pruned.optimizer, keras.optimizers.LossScaleOptimizer)
        self.assertEqual(scaled, policy == "mixed_float16")
        for variable in pruned.search.weights:
            self.assertIn(variable.dtype, ("float32", "int32"))
        compact = self.check_learned(pruned, history)
        layer = compact.get_layer("second")
        self.assertEqual(layer.compute_dtype, kind)
        self.assertEqual(layer.kernel.dtype, "float32")
        x, _ = small.data()
        self.assertTrue(np.isfinite(compact.predict(x, verbose=0)).all())

    def test_gates_keep_their_digits_in_mixed_precision(self):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            pruned = small.prune(small.network(), method="uniform")
        finally:
            keras.config.set_dtype_policy(before)
        count = pruned.channel_graph.num_units + 1
        given = np.linspace(0.0, 1.0, count).astype("float32")
        seen, original = [], GatedLayer.call

        def call(layer, inputs, gates, *args, **kwargs):
            seen.append(keras.ops.convert_to_numpy(gates))
            return original(layer, inputs, gates, *args, **kwargs)

        with mock.patch.object(GatedLayer, "call", call):
            pruned.run_network(small.data()[0], given)
        self.assertLen(seen, 2)
        for gates in seen:
            np.testing.assert_array_equal(gates, given)

    def test_xla_is_left_out_by_default_where_it_is_slow(self):
        """Convolutions on TensorFlow's CPU; patches side by side are products."""
        tensorflow = keras.backend.backend() == "tensorflow"

        def images(*between):
            inputs = keras.Input((8, 8, 4))
            after = [keras.layers.Flatten(), keras.layers.Dense(4)]
            return keras.Model(inputs, keras.Sequential([*between, *after])(inputs))

        conv = keras.layers.Conv2D
        for model, slow in (
            (images(conv(8, 3)), True),
            (images(keras.layers.DepthwiseConv2D(3), conv(8, 1)), True),
            (images(conv(8, 1), conv(8, 4, strides=4)), False),
            (small.network(), False),
        ):
            pruned = tf_lossprune.prune_model(model, {"macs": 0.5})
            pruned.compile("sgd", "mse")
            model.compile("sgd", "mse")
            wanted = model.jit_compile and not (slow and tensorflow)
            self.assertEqual(pruned.jit_compile, wanted)
            pruned.compile("sgd", "mse", jit_compile=True)
            self.assertTrue(pruned.jit_compile)

    def test_xla(self):
        self.check_xla({"jit_compile": True})

    @pytest.mark.long
    def test_xla_and_all_of_them(self):
        self.check_xla(
            {
                "jit_compile": True,
                "policy": "mixed_bfloat16",
                "steps_per_execution": 2,
            }
        )

    def check_xla(self, options):
        plain = {k: v for k, v in options.items() if k != "steps_per_execution"}
        _, _, expected = train(pruned=False, **plain)
        pruned, history, weights = train(**options)
        tolerance = 2e-3 if "policy" in options else 1e-5
        for a, b in zip(weights, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)
        self.check_learned(pruned, history)

    def test_several_steps_at_once_are_the_same_steps(self):
        """The phases end where they would; an end amid an execution waits for it."""
        one, _, _ = train()
        four, history, _ = train(steps_per_execution=4)
        for a, b in zip(one.get_weights(), four.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        self.assertEqual(history["phase"], [0.0, 1.0, 1.0, 2.0])
        self.check_learned(four, history)

    def test_a_search_that_ends_within_an_execution(self):
        keras.utils.set_random_seed(0)
        schedule = small.schedule(warmup=0.0, search=0.3)  # five of sixteen steps
        pruned = small.prune(small.network(), schedule=schedule)
        small.compile_model(pruned, steps_per_execution=4)
        self.check_learned(pruned, small.fit(pruned).history)
        self.assertEqual(pruned.search_end, 5)

    def test_two_devices(self):
        """Two replicas learn what one device learns from the same batches."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.training.two_devices"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(found["replicas"], 2)
        self.assertTrue(found["restored"])
        self.assertLessEqual(found["share"], small.SHARE)
        for two in ("mirrored", "frozen", "given"):
            one = {"mirrored": "alone"}.get(two, f"{two} alone")
            alone, mirrored = found[one], found[two]
            self.assertEqual(mirrored["phase"], "fixed")
            self.assertEqual(mirrored["step"], small.EPOCHS * small.STEPS)
            self.assertEqual(mirrored["kept"], alone["kept"])
            np.testing.assert_allclose(mirrored["ratios"], alone["ratios"], atol=1e-3)
            np.testing.assert_allclose(mirrored["loss"], alone["loss"], rtol=1e-3)
            for a, b in zip(mirrored["weights"], alone["weights"], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)
            moved = np.abs(alone["ratios"]).max() > 1e-3
            self.assertEqual(moved, two != "given")
