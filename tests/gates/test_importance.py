"""Importance: kinds, aggregation, normalisation."""

import keras
import numpy as np
from absl.testing import parameterized

from examples import models
from tf_lossprune.gates import Importance
from tf_lossprune.gates.importance import KINDS
from tf_lossprune.graph import analyze


def two_convs():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="a")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="b")(x)
    return keras.Model(inputs, x)


class ImportanceTest(parameterized.TestCase):
    @parameterized.product(kind=KINDS, members=("all", "first", "last"))
    def test_mean_is_one_and_positive(self, kind, members):
        model = models.resnet20()
        models.randomize(model, 0)
        channels = analyze(model)
        scores = np.array(Importance(kind, members).bind(channels)())
        for group in channels.groups:
            self.assertAlmostEqual(scores[group.units].mean(), 1.0, places=4)
        self.assertTrue((scores[1:] > 0).all())

    @parameterized.parameters(
        ("l1", [1.0, 2.0, 3.0, 4.0]), ("bn_scale", [4.0, 3.0, 2.0, 1.0])
    )
    def test_order(self, kind, wanted):
        model = two_convs()
        kernel = np.ones((3, 3, 3, 4)) * [1.0, -2.0, 3.0, -4.0]
        model.get_layer("a").set_weights([kernel])
        model.get_layer("bn").gamma.assign([-4.0, 3.0, 2.0, 1.0])
        scores = np.array(Importance(kind).bind(analyze(model))())[1:]
        np.testing.assert_allclose(scores, np.array(wanted) / 2.5, rtol=1e-4)

    def test_group_l2_counts_consumers(self):
        model = two_convs()
        model.get_layer("a").set_weights([np.ones((3, 3, 3, 4))])
        model.get_layer("b").set_weights([np.ones((1, 1, 4, 2)) * [[0], [1], [2], [3]]])
        scores = np.array(Importance("group_l2").bind(analyze(model))())[1:]
        wanted = np.sqrt(1.0 + np.array([0, 1, 4, 9]) / 3.5)
        np.testing.assert_allclose(scores, wanted / wanted.mean(), rtol=1e-4)

    def test_bad_arguments(self):
        for kwargs in ({"kind": "x"}, {"members": "x"}, {"interval": 0}):
            with self.assertRaisesRegex(ValueError, "Received: "):
                Importance(**kwargs)
