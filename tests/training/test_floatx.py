"""A default float type other than float32 changes the network's, not the search's."""

import contextlib

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from tests.training import small


@contextlib.contextmanager
def default_of(floatx, policy=None):
    """A context with another float type, and another policy for new layers."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy or floatx)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def network():
    """With a normalisation, which half-precision sums overflow without."""
    inputs = keras.Input((8,))
    x = keras.layers.Dense(16, name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dense(16, activation="relu", name="second")(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(x))


class FloatTypeTest(parameterized.TestCase):
    @parameterized.parameters(
        ("float16", None, "loss"),
        ("float32", "bfloat16", "bar"),
    )
    def test_fit_and_strip(self, floatx, policy, method):
        self.check(floatx, policy, method)

    @parameterized.parameters(
        ("float64", None, "loss"),
        ("float64", None, "variational"),
        ("float64", None, "bn_scale"),
        ("float64", None, "ecc"),
        ("bfloat16", None, "loss"),
        ("float32", "float64", "loss"),
        ("float64", "float32", "loss"),
    )
    @pytest.mark.long
    def test_fit_and_strip_with_others(self, floatx, policy, method):
        self.check(floatx, policy, method)

    def check(self, floatx, policy, method):
        if keras.backend.backend() == "jax" and floatx == "bfloat16":
            self.skipTest("Keras makes indices bfloat16 there, too")
        with default_of(floatx, policy):
            keras.utils.set_random_seed(0)
            model = network()
            kind = model.get_layer("first").kernel.dtype
            self.assertEqual(kind, policy or floatx)
            pruned = small.prune(model, method=method)
            for variable in pruned.search.weights:
                self.assertIn(variable.dtype, ("float32", "int32"), variable.path)
            small.compile_model(pruned, keras.optimizers.SGD(0.01))
            history = small.fit(pruned).history
            self.assertTrue(np.isfinite([float(v) for v in history["loss"]]).all())
            self.assertEqual(history["phase"], [0.0, 1.0, 1.0, 2.0])
            compact = tf_lossprune.strip_pruning(pruned)
            self.assertEqual(compact.get_layer("first").kernel.dtype, kind)
            macs = tf_lossprune.cost(compact)["macs"]
            self.assertLessEqual(macs, small.SHARE * pruned.costs["macs"].dense)
            x, _ = small.data()
            found, expected = (
                compact.predict(x, verbose=0),
                pruned.predict(x, verbose=0),
            )
            exact = 1e-5 if "64" in kind or "32" in kind else 5e-2
            np.testing.assert_allclose(
                np.asarray(found, "float32"),
                np.asarray(expected, "float32"),
                rtol=exact,
                atol=exact,
            )

    @pytest.mark.long
    def test_one_call(self):
        with default_of("float64"):
            compact, result = tf_lossprune.compress(
                network(),
                {"macs": 0.5},
                small.data(),
                small.data(),
                batch_size=small.BATCH,
                epochs=3,
                optimizer="adam",
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                distill=True,
                verbose=0,
                jit_compile=False,
                channel_multiple=1,
            )
        self.assertEqual(compact.dtype_policy.name, "float64")
        self.assertTrue(np.isfinite(result.compact["loss"]))
