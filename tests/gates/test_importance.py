"""Importance: kinds, aggregation, normalisation."""

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tf_lossprune import importances
from tf_lossprune.gates import IMPORTANCES
from tf_lossprune.graph import analyze


def two_convs():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="a")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="b")(x)
    return keras.Model(inputs, x)


class ImportanceTest(parameterized.TestCase):
    @parameterized.product(
        kind=sorted(set(IMPORTANCES) - {"prediction"}), members=("all", "first", "last")
    )
    def test_mean_is_one_and_positive(self, kind, members):
        model = models.resnet20()
        models.randomize(model, 0)
        channels = analyze(model)
        scores = np.array(IMPORTANCES[kind](members)(channels))
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
        scores = np.array(IMPORTANCES[kind]()(analyze(model)))[1:]
        np.testing.assert_allclose(scores, np.array(wanted) / 2.5, rtol=1e-4)

    def test_group_l2_counts_consumers(self):
        model = two_convs()
        model.get_layer("a").set_weights([np.ones((3, 3, 3, 4))])
        model.get_layer("b").set_weights([np.ones((1, 1, 4, 2)) * [[0], [1], [2], [3]]])
        scores = np.array(importances.GroupL2()(analyze(model)))[1:]
        wanted = np.sqrt(1.0 + np.array([0, 1, 4, 9]) / 3.5)
        np.testing.assert_allclose(scores, wanted / wanted.mean(), rtol=1e-4)

    def test_bad_arguments(self):
        for kwargs in ({"members": "x"}, {"interval": 0}):
            with self.assertRaisesRegex(ValueError, "Received: "):
                importances.GroupL2(**kwargs)


@importances.register_importance
class Wished(tf_lossprune.Importance):
    """The channels go in an order that somebody has written down."""

    name = "wished"

    def __init__(self, last=(1, 3), interval=16):
        super().__init__(interval)
        self.last = list(last)

    def score(self, channels):
        scores = np.ones(channels.num_units + 1)
        scores[self.last] = 2.0
        return scores

    def get_config(self):
        return {"last": self.last, **super().get_config()}


@importances.register_importance
class ByFisher(importances.GroupL2):
    """Learned from gradients by an estimator of the package's."""

    name = "by_fisher"

    def make_estimator(self):
        return importances.FisherInformation()


class OwnImportanceTest(parameterized.TestCase):
    @parameterized.parameters(
        ("wished", [1, 3]),
        ({"class_name": "wished", "config": {"last": [2, 4]}}, [2, 4]),
        ({"class_name": "Wished", "config": {"last": [2, 4]}}, [2, 4]),
        (keras.saving.serialize_keras_object(Wished([1, 2])), [1, 2]),
        (Wished([2, 3]), [2, 3]),
    )
    def test_name_config_or_object_decide_which_channels_stay(self, given, stay):
        pruned = tf_lossprune.prune_model(
            two_convs(),
            {"macs": 0.5},
            method="uniform",
            importance=given,
            channel_multiple=1,
        )
        np.testing.assert_array_equal(
            np.flatnonzero(np.array(pruned.search.kept))[1:], stay
        )
        again = type(pruned).from_config(pruned.get_config())
        self.assertEqual(again.options.importance.last, stay)

    def test_one_that_learns_from_gradients(self):
        pruned = tf_lossprune.prune_model(
            two_convs(), {"macs": 0.5}, importance="by_fisher", channel_multiple=1
        )
        pruned.begin(10)
        weights = pruned.current_importance()
        step = pruned.begin_step(8)
        gradient = np.array([0.0, 4.0, 1.0, 3.0, 2.0], "float32")
        pruned.end_step(step, keras.ops.convert_to_tensor(gradient))
        # What is off has no weights to be judged by.
        on = np.array(step.gates)[1:] > 0
        self.assertGreater(on.sum(), 1)
        learned = pruned.current_importance()[1:]
        np.testing.assert_allclose(
            learned[on] / learned[on].max(),
            (gradient[1:][on] / gradient[1:][on].max()) ** 2,
            rtol=1e-5,
        )
        self.assertGreater(np.abs(learned - weights[1:]).max(), 0.1)

    def test_register_says_what_is_wrong(self):
        class Nameless(tf_lossprune.Importance):
            name = None

        class Taken(tf_lossprune.Importance):
            name = "l1"

        with self.assertRaisesRegex(ValueError, "`name`.*Received: name=None"):
            importances.register_importance(Nameless)
        with self.assertRaisesRegex(ValueError, "L1 has this one.*Received: name='l1'"):
            importances.register_importance(Taken)
        with self.assertRaisesRegex(TypeError, "derived from Importance.*Received: "):
            importances.register_importance(len)
