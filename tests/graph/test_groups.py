"""The channel graph: which channels go together."""

import keras
import numpy as np
from absl.testing import parameterized

from examples import models
from tf_lossprune.graph import analyze

layers = keras.layers


def names(channels):
    return [(g.name, g.size, g.producers) for g in channels.groups]


class Doubled(layers.Layer):
    def call(self, x):
        return x * 2


class GroupsTest(parameterized.TestCase):
    @parameterized.parameters(
        (lambda: models.resnet20(input_shape=(32, 32, 3)), 12),
        (lambda: models.resnet56(input_shape=(32, 32, 3)), 30),
        (lambda: models.vgg16_bn(), 13),
        (lambda: models.resnet_imagenet(depth=18), 12),
        (lambda: models.resnet_imagenet(depth=50), 37),
    )
    def test_reference_group_counts(self, build, count):
        self.assertLen(analyze(build()).groups, count)

    def test_residual_ties_producers(self):
        x = inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, padding="same", name="a")(x)
        y = layers.Conv2D(4, 3, padding="same", name="b")(x)
        x = layers.Add()([x, y])
        x = layers.GlobalAveragePooling2D()(x)
        model = keras.Model(inputs, layers.Dense(2, name="head")(x))
        channels = analyze(model)
        self.assertEqual(names(channels), [("a", 4, ["a", "b"])])
        self.assertEqual(channels.groups[0].consumers, ["b", "head"])
        self.assertIn("producers a, b", " ".join(str(channels.groups[0]).split()))

    def test_concatenation_keeps_groups_apart_until_tied(self):
        inputs = keras.Input((8, 8, 3))
        a = layers.Conv2D(4, 1, name="a")(inputs)
        b = layers.Conv2D(6, 1, name="b")(inputs)
        c = layers.Conv2D(10, 1, name="c")(inputs)
        x = layers.Add()([layers.Concatenate()([a, b]), c])
        x = layers.Dense(2)(layers.Flatten()(x))
        found = names(analyze(keras.Model(inputs, x)))
        self.assertEqual(found, [("a", 4, ["a", "c"]), ("b", 6, ["b", "c"])])

    def test_flatten_repeats_labels(self):
        inputs = keras.Input((4, 4, 3))
        x = layers.Conv2D(5, 1, name="a")(inputs)
        x = layers.Dense(2, name="d")(layers.Flatten()(x))
        channels = analyze(keras.Model(inputs, x))
        ((axis, units),) = channels.gated(channels.graph.layers[-1])["kernel"].items()
        self.assertEqual(axis, 0)
        np.testing.assert_array_equal(units, np.tile([1, 2, 3, 4, 5], 16))

    def test_depthwise_multiplier_repeats_and_one_channel_conv_does_not(self):
        inputs = keras.Input((4, 4, 1))
        x = layers.Conv2D(6, 3, name="a")(inputs)  # one channel in: not depthwise
        x = layers.DepthwiseConv2D(1, depth_multiplier=2, name="dw")(x)
        x = layers.Conv2D(2, 1, name="b")(x)
        channels = analyze(keras.Model(inputs, x))
        self.assertEqual(names(channels), [("a", 6, ["a"])])
        (units,) = channels.gated(channels.graph.layers[-1])["kernel"].values()
        np.testing.assert_array_equal(units, np.repeat(np.arange(1, 7), 2))

    def test_squeeze_excite_is_one_group(self):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, name="a")(inputs)
        s = layers.GlobalAveragePooling2D(keepdims=True)(x)
        s = layers.Conv2D(2, 1, activation="relu", name="squeeze")(s)
        s = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(s)
        x = layers.Multiply()([x, s])
        x = layers.Conv2D(3, 1, name="b")(x)
        found = names(analyze(keras.Model(inputs, x)))
        self.assertEqual(
            found, [("a", 8, ["a", "excite"]), ("squeeze", 2, ["squeeze"])]
        )

    def test_spatial_attention_leaves_the_other_side_free(self):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, padding="same", name="a")(inputs)
        s = layers.Conv2D(1, 1, activation="sigmoid", name="map")(x)
        x = layers.Conv2D(3, 1, name="b")(layers.Multiply()([x, s]))
        found = names(analyze(keras.Model(inputs, x)))
        self.assertEqual(found, [("a", 8, ["a"])])

    @parameterized.named_parameters(
        ("unknown", lambda x: Doubled()(x), "no rule"),
        ("across", lambda x: keras.ops.sort(x), "mixes channels"),
        ("callable", lambda x: layers.Activation(keras.ops.sort)(x), "mix channels"),
        ("lambda", lambda x: layers.Lambda(lambda v: v * 2)(x), "cannot be read"),
    )
    def test_frozen_with_a_reason(self, layer, reason):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, name="a")(inputs)
        x = layer(x)
        x = layers.Conv2D(3, 1, name="b")(x)
        channels = analyze(keras.Model(inputs, x))
        self.assertEmpty(channels.groups)
        self.assertIn(reason, dict(channels.frozen)["a"])
        self.assertIn("model output", dict(channels.frozen)["b"])

    def test_input_in_a_residual_freezes(self):
        inputs = keras.Input((8, 8, 4))
        x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
        x = layers.Conv2D(3, 1)(layers.Add()([x, inputs]))
        channels = analyze(keras.Model(inputs, x))
        self.assertEmpty(channels.groups)
        self.assertIn("cannot be removed", dict(channels.frozen)["a"])

    def test_nested_models_are_flattened(self):
        inner_in = keras.Input((8, 8, 4))
        y = layers.Conv2D(4, 3, padding="same", name="inner_conv")(inner_in)
        inner = keras.Model(inner_in, layers.Add()([inner_in, y]))
        block = keras.Sequential([keras.Input((8, 8, 4)), inner, layers.ReLU()])
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 1, name="stem")(inputs)
        x = layers.Dense(2)(layers.GlobalAveragePooling2D()(block(x)))
        found = names(analyze(keras.Model(inputs, x)))
        self.assertEqual(found, [("stem", 4, ["stem", "inner_conv"])])

    def test_shared_layer_ties_its_calls(self):
        inputs = keras.Input((8, 8, 3))
        a = layers.Conv2D(4, 1, name="a")(inputs)
        b = layers.Conv2D(4, 1, name="b")(inputs)
        shared = layers.Conv2D(5, 1, name="shared")
        x = layers.Concatenate()([shared(a), shared(b)])
        x = layers.Conv2D(2, 1, name="c")(x)
        channels = analyze(keras.Model(inputs, x))
        found = [(g.size, sorted(g.producers)) for g in channels.groups]
        self.assertEqual(found, [(4, ["a", "b"]), (5, ["shared"])])

    def test_excluded_layers_stay(self):
        model = models.resnet20()
        kept = {"s0b0_a_conv"}
        channels = analyze(model, lambda layer: layer.name in kept)
        self.assertLen(channels.groups, 11)
        self.assertIn("excluded", dict(channels.frozen)["s0b0_a_conv"])
