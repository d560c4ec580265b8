"""What deserves a warning gets one, with the figure, the cure and the user's line."""

import re
import warnings

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune

layers = keras.layers


def network(widths=(32, 32)):
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for index, width in enumerate(widths):
        x = layers.Conv2D(width, 3, activation="relu", name=f"conv_{index}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def fitted(pruned, steps):
    pruned.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * steps, 8, 8, 3)).astype("float32")
    pruned.fit(x, np.ones((2 * steps, 3)), batch_size=2, epochs=2, verbose=0)
    return pruned


class AdviceTest(parameterized.TestCase):
    def heard(self, function, *args, **kwargs):
        """The product's warnings during a call; each points at this file."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.result = function(*args, **kwargs)
        found = [w for w in caught if "PendingDeprecation" not in str(w.category)]
        found = [w for w in found if issubclass(w.category, UserWarning)]
        for warning in found:
            self.assertEqual(warning.filename, __file__, str(warning.message))
        return [str(warning.message) for warning in found]

    def test_a_frozen_backbone_cannot_recover(self):
        backbone = keras.Sequential(network((8, 8)).layers[:3])
        backbone.trainable = False
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(6, 1, name="head")(backbone(inputs))
        model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
        budget = {"macs": 0.5}
        (text,) = self.heard(tf_lossprune.prune_model, model, budget)
        self.assertIn("2 of 4 layers", text)
        self.assertIn("'conv_0', 'conv_1'", text)
        self.assertIn("trainable = True", text)
        exclude = ["conv_"]
        self.assertEmpty(
            self.heard(tf_lossprune.prune_model, model, {"macs": 0.97}, exclude=exclude)
        )
        backbone.trainable = True
        self.assertEmpty(self.heard(tf_lossprune.prune_model, model, budget))

    def test_frozen_statistics_alone_are_fine(self):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3)(inputs)
        x = layers.BatchNormalization(trainable=False)(x)
        model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
        self.assertEmpty(self.heard(tf_lossprune.prune_model, model, {"macs": 0.5}))

    def test_a_search_of_few_steps(self):
        schedule = tf_lossprune.Schedule(search=0.5)
        pruned = tf_lossprune.prune_model(network(), {"macs": 0.5}, schedule=schedule)
        (text,) = self.heard(fitted, pruned, 6)
        self.assertIn("6 of 12 training steps", text)
        self.assertIn("`Schedule(search=...)`", text)
        self.assertEmpty(self.heard(tf_lossprune.strip_pruning, pruned))
        again = tf_lossprune.prune_model(network(), {"macs": 0.5}, schedule=schedule)
        self.assertEmpty(self.heard(fitted, again, 24))

    def test_a_method_without_search_needs_no_steps(self):
        def run():
            pruned = tf_lossprune.prune_model(
                network(), {"macs": 0.5}, method="uniform"
            )
            return tf_lossprune.strip_pruning(fitted(pruned, 2))

        self.assertEmpty(self.heard(run))

    def test_strip_pruning_before_fit(self):
        pruned = tf_lossprune.prune_model(network(), {"macs": 0.5})
        (text,) = self.heard(tf_lossprune.strip_pruning, pruned)
        self.assertIn("before any training step", text)
        self.assertIn("'uniform'", text)
        # Once is enough.
        self.assertEmpty(self.heard(tf_lossprune.strip_pruning, pruned))

    def test_strip_pruning_in_the_middle_of_the_search(self):
        schedule = tf_lossprune.Schedule(search=0.5, total_steps=100)
        pruned = tf_lossprune.prune_model(network(), {"macs": 0.5}, schedule=schedule)
        self.assertEmpty(self.heard(fitted, pruned, 4))
        (text,) = self.heard(tf_lossprune.strip_pruning, pruned)
        self.assertIn("after 8 of 50 steps", text)

    @parameterized.parameters("macs", "size_bytes")
    def test_a_budget_that_stays_unused(self, resource):
        def prune(multiple):
            return tf_lossprune.prune_model(
                network(), {resource: 0.7}, method="uniform", channel_multiple=multiple
            )

        (text,) = self.heard(prune, 16)
        pruned = self.result
        used = pruned.cost()[resource] / pruned.costs[resource].dense / 0.7
        (said,) = re.findall(rf"uses (\S+)% of its budget in {resource}", text)
        self.assertAlmostEqual(float(said), 100 * used, delta=2)
        self.assertIn("multiples of up to 16", text)
        self.assertIn("channel_multiple=1", text)
        self.assertEmpty(self.heard(prune, 1))

    def test_a_budget_that_leaves_the_network_whole_is_no_waste(self):
        model = network()
        budget = {"params": 2 * model.count_params()}
        self.assertEmpty(
            self.heard(tf_lossprune.prune_model, model, budget, method="uniform")
        )
