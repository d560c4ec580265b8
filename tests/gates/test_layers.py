"""The wrapper: gating the kernel equals gating the input."""

import keras
import numpy as np
from absl.testing import parameterized

from tf_lossprune.gates import GatedLayer

layers = keras.layers


class GatedLayerTest(parameterized.TestCase):
    @parameterized.parameters(
        (layers.Conv1D(5, 3), (9, 4), "kernel", 1),
        (layers.Conv2D(5, 3, strides=2, padding="same"), (9, 9, 4), "kernel", 2),
        (layers.Conv2D(5, 3, activation="sigmoid"), (9, 9, 4), "kernel", 2),
        (
            layers.SeparableConv2D(5, 3, depth_multiplier=2),
            (9, 9, 4),
            "depthwise_kernel",
            2,
        ),
        (layers.Dense(5), (4,), "kernel", 0),
        (layers.DepthwiseConv2D(3, use_bias=False), (9, 9, 4), "kernel", 2),
    )
    def test_equals_gated_input(self, layer, shape, weight, axis):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(2, *shape)).astype("float32")
        layer = layer.from_config(layer.get_config())
        layer.build((None, *shape))
        gates = np.array([1.0, 0.5, 0.0, 1.0, 0.25], "float32")
        units = [1, 2, 0, 4]
        gated = GatedLayer(layer, {weight: {axis: units}})
        wanted = layer(x * gates[units])
        np.testing.assert_allclose(gated(x, gates), wanted, rtol=1e-4, atol=1e-5)
        # Nothing is left behind in the wrapped layer.
        np.testing.assert_array_equal(layer(x), layer(x * 1.0))

    def test_config_and_weights(self):
        layer = layers.Conv2D(2, 1)
        layer.build((None, 4, 4, 3))
        gated = GatedLayer(layer, {"kernel": {2: [1, 2, 3]}})
        config = keras.saving.serialize_keras_object(gated)
        again = keras.saving.deserialize_keras_object(config)
        self.assertEqual(again.gates, gated.gates)
        self.assertLen(gated.trainable_weights, 2)

    def test_mixed_precision_keeps_the_weight_in_float32(self):
        layer = layers.Conv2D(2, 1, dtype="mixed_bfloat16")
        layer.build((None, 4, 4, 3))
        gated = GatedLayer(layer, {"kernel": {2: [1, 2, 3]}})
        x = np.ones((1, 4, 4, 3), "float32")
        y = gated(x, np.ones(4, "float32"))
        self.assertEqual(keras.backend.standardize_dtype(y.dtype), "bfloat16")
        np.testing.assert_array_equal(np.array(y, "f"), np.array(layer(x), "f"))
