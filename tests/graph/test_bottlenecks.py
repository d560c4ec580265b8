"""Which groups everything passes through."""

import keras
from absl.testing import parameterized

from examples import models
from tf_lossprune.graph import analyze, bottlenecks


def found(model):
    """Names of the bottlenecks' groups."""
    channels = analyze(model)
    return {g.name for g, held in zip(channels.groups, bottlenecks(channels)) if held}


class BottlenecksTest(parameterized.TestCase):
    @parameterized.named_parameters(
        # Every convolution but none of the classifier's outputs.
        ("plain", "vgg16_bn", 13),
        ("separable", "mobilenet_v1", 14),
        # Skip paths go around the branches; the stages' channels have several makers.
        ("residual", "resnet20", 0),
    )
    def test_networks(self, arch, count):
        self.assertLen(found(models.build(arch, width=8)), count)

    def test_inverted_residuals(self):
        names = found(models.build("mobilenet_v2", width=8))
        self.assertContainsSubset(
            {"stem_conv", "b0_project_conv", "b1_expand_conv", "top_conv"}, names
        )
        self.assertNoCommonElements({"b1_project_conv", "b2_expand_conv"}, names)

    def test_branches(self):
        inputs = keras.Input((8, 8, 3))
        stem = keras.layers.Conv2D(4, 3, name="stem")(inputs)
        branches = [
            keras.layers.Conv2D(4, 1, name=name)(stem) for name in ("left", "right")
        ]
        x = keras.layers.Concatenate()(branches)
        weights = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        weights = keras.layers.Conv2D(2, 1, name="squeeze")(weights)
        weights = keras.layers.Conv2D(8, 1, activation="sigmoid")(weights)
        x = keras.layers.Multiply()([x, weights])
        x = keras.layers.Conv2D(5, 1, name="last")(x)
        outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
        self.assertEqual(found(keras.Model(inputs, outputs)), {"stem", "last"})

    def test_second_input_goes_around(self):
        images, others = keras.Input((8, 8, 3)), keras.Input((3,))
        x = keras.layers.Conv2D(4, 3, name="conv")(images)
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Concatenate()([x, others])
        x = keras.layers.Dense(6, name="hidden")(x)
        model = keras.Model([images, others], keras.layers.Dense(2)(x))
        self.assertEqual(found(model), {"hidden"})

    def test_one_of_two_outputs_goes_around(self):
        inputs = keras.Input((6,))
        x = keras.layers.Dense(6, name="trunk")(inputs)
        y = keras.layers.Dense(6, name="head")(x)
        outputs = [keras.layers.Dense(2)(x), keras.layers.Dense(2)(y)]
        self.assertEqual(found(keras.Model(inputs, outputs)), {"trunk"})
