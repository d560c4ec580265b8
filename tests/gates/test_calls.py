"""Calls that mix channels: with gates, what they compute on the kept ones alone."""

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

from tf_lossprune import surgery
from tf_lossprune.gates import GatedCall, ungated
from tf_lossprune.graph import analyze
from tf_lossprune.training.network import gated_network

layers = keras.layers

#: One call each, on a tensor of `[samples, 5, 8]`.
CALLS = {
    "layer_norm": layers.LayerNormalization,
    "layer_norm_bare": lambda: layers.LayerNormalization(scale=False, center=False),
    "layer_norm_of_all": lambda: layers.LayerNormalization(axis=[1, 2]),
    "rms_norm": layers.RMSNormalization,
    "group_norm": lambda: layers.GroupNormalization(2),
    "group_norm_of_all": lambda: layers.GroupNormalization(1),
    "unit_norm": layers.UnitNormalization,
    "softmax_layer": layers.Softmax,
    "softmax_activation": lambda: layers.Activation("softmax"),
    "layer_norm_operation": lambda: ops.layer_normalization,
    "rms_norm_operation": lambda: ops.rms_normalization,
    "normalize": lambda: ops.normalize,
    "normalize_by_cubes": lambda: lambda x: ops.normalize(x, order=3),
    "softmax": lambda: ops.softmax,
    "log_softmax": lambda: ops.log_softmax,
    "centred": lambda: lambda x: x - ops.mean(x, -1, keepdims=True),
    "by_hand": lambda: lambda x: x * ops.rsqrt(ops.var(x, [1, 2], keepdims=True)),
    "moments": lambda: lambda x: ops.add(*ops.moments(x, [-1], keepdims=True)) + x,
    "deviation": lambda: lambda x: x / ops.std(x, axis=-1, keepdims=True),
    "norm": lambda: lambda x: x / ops.norm(x, axis=(-1,), keepdims=True),
    "sum": lambda: lambda x: ops.sum(x, axis=-1),
    "logsumexp": lambda: lambda x: x - ops.logsumexp(x, axis=-1, keepdims=True),
    "largest": lambda: lambda x: x * ops.max(x, axis=-1, keepdims=True),
    "smallest": lambda: lambda x: x * ops.amin(x, axis=-1, keepdims=True),
}


def around(call):
    """A model with this call between two layers, its channels free."""
    inputs = keras.Input((5, 3))
    x = layers.Dense(8, name="made")(inputs)
    x = call(x)
    rank = len(x.shape)
    x = layers.Dense(4, name="read")(x if rank == 3 else ops.expand_dims(x, -1))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    return model


class GatedCallTest(parameterized.TestCase):
    @parameterized.named_parameters((name, call()) for name, call in CALLS.items())
    def test_computes_what_the_layer_does_on_the_kept_channels(self, call):
        model = around(call)
        channels = analyze(model)
        self.assertEqual([g.name for g in channels.groups], ["made"])
        network = gated_network("gated", channels)
        self.assertTrue(any(isinstance(la, GatedCall) for la in network.layers))
        x = 3 * np.random.default_rng(1).normal(size=(2, 5, 3)).astype("float32")
        keep = np.ones(channels.num_units + 1, bool)
        np.testing.assert_allclose(
            network([x, keep.astype("float32")]), model(x), rtol=1e-4, atol=1e-5
        )
        keep[channels.groups[0].units[1::3]] = False
        found = np.asarray(network([x, keep.astype("float32")]))
        compact = surgery.cut(channels, keep)
        self.assertLess(compact.count_params(), model.count_params())
        np.testing.assert_allclose(found, compact(x), rtol=1e-4, atol=1e-5)

    @parameterized.named_parameters(
        (name, call())
        for name, call in CALLS.items()
        if name not in ("largest", "smallest")
    )
    def test_is_differentiable_in_the_gates_and_stands_none_open(self, call):
        channels = analyze(around(call))
        network = gated_network("gated", channels)
        x = np.random.default_rng(1).normal(size=(2, 5, 3)).astype("float32")
        gates = np.linspace(0.3, 1.0, channels.num_units + 1).astype("float32")
        closed = np.zeros_like(gates)
        closed[0] = 1.0
        self.assertTrue(np.isfinite(np.asarray(network([x, closed]))).all())

        def loss(gates):
            return float(ops.sum(ops.sin(network([x, gates]))))

        gradient = gradients(network, x, gates)
        for unit in (1, 4):
            step = np.zeros_like(gates)
            step[unit] = 1e-2
            slope = (loss(gates + step) - loss(gates - step)) / 2e-2
            self.assertAlmostEqual(
                gradient[unit], slope, delta=0.02 * max(1, np.abs(gradient).max())
            )

    def test_config_and_masks(self):
        channels = analyze(around(layers.LayerNormalization()))
        network = gated_network("gated", channels)
        gated = next(la for la in network.layers if isinstance(la, GatedCall))
        config = keras.saving.serialize_keras_object(gated)
        again = keras.saving.deserialize_keras_object(config)
        self.assertIs(again.computation, gated.computation)
        np.testing.assert_array_equal(again.units, gated.units)
        self.assertIsInstance(ungated(again), layers.LayerNormalization)
        self.assertLen(gated.trainable_weights, 2)

    @parameterized.parameters("mixed_bfloat16", "float64")
    def test_other_types(self, policy):
        for layer in (
            layers.LayerNormalization(dtype=policy),
            layers.RMSNormalization(dtype=policy),
            layers.UnitNormalization(dtype=policy),
            layers.GroupNormalization(2, dtype=policy),
            layers.Softmax(dtype=policy),
        ):
            channels = analyze(around(layer))
            call = next(c for c in channels.graph.calls if c.operation is layer)
            units, computation = channels.gated_call(call)
            gated = GatedCall(layer, computation, units)
            x = ops.cast(
                np.random.default_rng(0).normal(size=(2, 5, 8)), layer.compute_dtype
            )
            y = gated(x, np.ones(channels.num_units + 1, "float32"))
            wanted = layer(x)
            self.assertEqual(y.dtype, wanted.dtype)
            tolerance = 1e-12 if wanted.dtype == "float64" else 2e-2
            difference = np.asarray(
                ops.cast(y, "float64") - ops.cast(wanted, "float64")
            )
            self.assertLess(np.abs(difference).max(), tolerance)


def gradients(network, x, gates):
    """The gradient of the sum of the sine of a network's outputs."""
    if keras.backend.backend() == "jax":
        import jax

        values = [v.value for v in network.trainable_variables]
        others = [v.value for v in network.non_trainable_variables]

        def loss(gates):
            y, _ = network.stateless_call(values, others, [x, gates])
            return ops.sum(ops.sin(y))

        return np.asarray(jax.grad(loss)(gates))
    import tensorflow as tf

    x, gates = tf.constant(x), tf.constant(gates)
    with tf.GradientTape() as tape:
        tape.watch(gates)
        loss = ops.sum(ops.sin(network([x, gates])))
    return tape.gradient(loss, gates).numpy()
