"""Costs: reference values, exact counts, gradients."""

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tests.graph import attention_networks
from tf_lossprune.graph import analyze
from tf_lossprune.resources import cost_models
from tf_lossprune.resources.base import CostFunction


class CostModelTest(parameterized.TestCase):
    @parameterized.parameters(
        (lambda: models.resnet20(input_shape=(32, 32, 3)), 40.81e6, 5e3),
        (lambda: models.resnet56(input_shape=(32, 32, 3)), 125.75e6, 5e3),
        (lambda: models.vgg16_bn(), 313.2e6, 5e4),
        (lambda: models.resnet_imagenet(depth=18), 1.814e9, 5e5),
        (lambda: models.resnet_imagenet(depth=50), 4.087e9, 5e5),
    )
    def test_reference_macs(self, build, expected, rounding):
        """METHOD's reference values count convolutions without the classifier."""
        model = build()
        found = tf_lossprune.cost(model, per_layer=True)
        head = model.layers[-1].name
        macs = found["macs"] - found["layers"][head]["macs"]
        self.assertAlmostEqual(macs, expected, delta=rounding)
        self.assertEqual(found["params"], model.count_params())

    @parameterized.parameters(
        (lambda: models.resnet20(input_shape=(32, 32, 3)), 0.865, 0.75),
        (lambda: models.resnet20(input_shape=(32, 32, 3)), 0.706, 0.50),
        (lambda: models.resnet20(input_shape=(32, 32, 3)), 0.572, 0.33),
        (lambda: models.resnet56(input_shape=(32, 32, 3)), 0.707, 0.50),
        (lambda: models.vgg16_bn(), 0.546, 0.30),
        (lambda: models.vgg16_bn(), 0.221, 0.05),
        (lambda: models.resnet_imagenet(depth=18), 0.767, 0.60),
        (lambda: models.resnet_imagenet(depth=50), 0.771, 0.60),
        (lambda: models.resnet_imagenet(depth=50), 0.703, 0.50),
    )
    def test_reference_uniform_ratios(self, build, ratio, share):
        channels = analyze(build())
        macs = cost_models(channels)["macs"]
        ratios = np.full(len(channels.groups), ratio, "float32")
        self.assertAlmostEqual(float(macs.fraction(ratios)), share, delta=2e-3)

    @parameterized.parameters(
        lambda: models.build("mobilenet_v2"),
        lambda: attention_networks.stock_layers(),
    )
    def test_gradients_agree_with_finite_differences(self, build):
        channels = analyze(build())
        rng = np.random.default_rng(0)
        ratios = rng.uniform(0.3, 1.0, len(channels.groups))
        for cost in cost_models(channels).values():
            widths = [rng.integers(1, cost.sizes + 1) for _ in range(2)]
            np.testing.assert_array_equal(
                cost.totals_with(*widths), CostFunction.totals_with(cost, *widths)
            )
            kept = ratios * cost.sizes
            exact = cost.gradient(kept)
            shares = np.array(cost.gradient_fraction(ratios.astype("float32")))
            for k in range(len(ratios)):
                up, down = kept.copy(), kept.copy()
                up[k] += 0.5
                down[k] -= 0.5
                # Quadratic: the central difference is exact.
                wanted = cost.per_term(up).sum() - cost.per_term(down).sum()
                np.testing.assert_allclose(exact[k], wanted, rtol=1e-6)
            np.testing.assert_allclose(
                shares, exact * cost.sizes / cost.dense, rtol=1e-4
            )

    def test_counts_on_hand(self):
        inputs = keras.Input((6, 6, 3))
        x = keras.layers.SeparableConv2D(5, 3, depth_multiplier=2)(inputs)
        x = keras.layers.Flatten()(x)
        model = keras.Model(inputs, keras.layers.Dense(7)(x))
        macs = 16 * (9 * 6 + 6 * 5) + 80 * 7
        params = 9 * 6 + 6 * 5 + 5 + 80 * 7 + 7
        self.assertEqual(tf_lossprune.cost(model), {"macs": macs, "params": params})

    def test_shared_layer_counts_twice_but_is_stored_once(self):
        inputs = keras.Input((6, 6, 3))
        conv = keras.layers.Conv2D(3, 1)
        model = keras.Model(inputs, conv(conv(inputs)))
        found = tf_lossprune.cost(model)
        self.assertEqual(found, {"macs": 2 * 36 * 9, "params": 12})

    def test_unknown_sizes_are_an_error(self):
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
        with self.assertRaisesRegex(ValueError, "static shapes.*Received: "):
            tf_lossprune.cost(model)
