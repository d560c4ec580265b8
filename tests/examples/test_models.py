"""The example networks have the published sizes."""

import keras
import numpy as np
from absl.testing import parameterized

from examples import models


def conv_macs(model):
    """Multiply-accumulates of the convolutions, counted from the kernels."""
    return sum(
        int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
    )


class ModelsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("resnet20", "resnet20", {"input_shape": (32, 32, 3)}, 40.81e6),
        ("resnet56", "resnet56", {"input_shape": (32, 32, 3)}, 125.75e6),
        ("vgg16", "vgg16_bn", {"input_shape": (32, 32, 3)}, 313.2e6),
        ("resnet18_small", "resnet18", {"input_shape": (32, 32, 3)}, 555.4e6),
        ("resnet18", "resnet_imagenet", {"depth": 18}, 1.814e9),
        ("resnet50", "resnet_imagenet", {"depth": 50}, 4.087e9),
    )
    def test_macs_of_reference_networks(self, name, options, expected):
        model = models.build(name, **options)
        self.assertAlmostEqual(conv_macs(model) / expected, 1.0, delta=5e-4)

    @parameterized.named_parameters(
        # Published: 4.2 M and 3.4 M weights, 569 M and 300 M multiply-adds.
        ("v1", "mobilenet_v1", 568e6, 4_253_864),
        ("v2", "mobilenet_v2", 299.5e6, 3_538_984),
    )
    def test_mobilenets_at_224_are_the_published_ones(self, name, macs, params):
        model = models.build(name, input_shape=(224, 224, 3), classes=1000)
        self.assertAlmostEqual(conv_macs(model) / macs, 1.0, delta=2e-3)
        self.assertEqual(model.count_params(), params)

    def test_resnet20_is_the_network_of_the_comparison_protocol(self):
        model = models.resnet20()
        names = [layer.name for layer in model.layers]
        self.assertEqual(model.count_params(), 273_754)
        self.assertEqual(model.input_shape, (None, 28, 28, 1))
        self.assertEqual(
            names[:4], ["input_layer", "stem_conv", "stem_bn", "stem_relu"]
        )
        self.assertIn("s1b0_sc_conv", names)
        self.assertIn("s2b2_b_bn", names)
        self.assertEqual(names[-2:], ["gap", "head"])

    @parameterized.parameters(*(n for n in models.NAMES if n != "resnet_imagenet"))
    def test_builds_small_and_narrow(self, name):
        model = models.build(name, input_shape=(8, 8, 2), classes=3, width=4)
        self.assertIsInstance(model, keras.Model)
        self.assertEqual(model.output_shape, (None, 3))

    def test_width_scales_the_channels(self):
        wide, narrow = (models.vgg16_bn(width=width) for width in (8, 4))
        self.assertEqual(
            wide.get_layer("b4c2_conv").filters,
            2 * narrow.get_layer("b4c2_conv").filters,
        )

    def test_unknown_names_and_depths(self):
        with self.assertRaisesRegex(ValueError, "Received: 'alexnet'"):
            models.build("alexnet")
        with self.assertRaisesRegex(ValueError, "Received: 21"):
            models.build("resnet", depth=21)
        with self.assertRaisesRegex(ValueError, "Received: 34"):
            models.resnet_imagenet(34)


class RandomizeTest(parameterized.TestCase):
    @parameterized.parameters("resnet20", "mobilenet_v2", "squeeze_excite_net")
    def test_outputs_stay_finite_and_differ_between_samples(self, name):
        model = models.build(name, input_shape=(8, 8, 1), width=4)
        self.assertIs(models.randomize(model, seed=1), model)
        x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
        y = np.asarray(model(x, training=False))
        self.assertTrue(np.isfinite(y).all())
        self.assertGreater(y.std(axis=0).min(), 0.0)
        self.assertLess(np.abs(y).max(), 1e4)

    def test_statistics_are_random_and_reproducible(self):
        first, second = (models.randomize(models.digits_resnet(), 3) for _ in "ab")
        for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        norm = first.get_layer("stem_bn")
        gamma, beta, mean, variance = (np.asarray(w) for w in norm.weights)
        for signed in (gamma, beta, mean):
            self.assertLess(signed.min(), 0.0)
            self.assertGreater(signed.max(), 0.0)
        self.assertGreater(variance.min(), 0.0)
        self.assertGreater(variance.std(), 0.0)
