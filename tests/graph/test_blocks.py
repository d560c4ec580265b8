"""Blocks that go entirely."""

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tests.graph.test_random_graphs import compare
from tf_lossprune.graph import analyze, removable_blocks

layers = keras.layers


def bottlenecks(spatial=True):
    """A plain block, a bottleneck, a depthwise block, and a gate without a skip."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(x)
    y = layers.Conv2D(5, 3, padding="same", activation="relu", name="plain")(x)
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(y))
    x = layers.ReLU()(layers.Add()([x, y]))
    y = layers.Conv2D(4, 1, activation="sigmoid", name="narrow")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="sigmoid", name="middle")(y)
    y = layers.Conv2D(6, 1)(y)
    x = x + layers.BatchNormalization()(y)
    y = layers.Conv2D(7, 1, activation="relu6", name="expand")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(y)
    y = layers.Conv2D(6, 1, use_bias=False)(y)
    x = layers.Add()([y, x])
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(2, 1, activation="relu", name="squeeze")(s)
    x = layers.Multiply()([x, layers.Conv2D(6, 1, activation="sigmoid")(s)])
    x = layers.Conv2D(4, 3, name="tail")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))


def names(channels, blocks):
    return [[channels.groups[k].name for k in block] for block in blocks]


class BlocksTest(parameterized.TestCase):
    def test_only_branches_beside_a_skip_path(self):
        channels = analyze(bottlenecks())
        self.assertEqual(
            names(channels, removable_blocks(channels)),
            [["plain"], ["narrow", "middle"], ["expand"]],
        )
        channels = analyze(models.resnet20(width=4))
        found = {
            n for block in names(channels, removable_blocks(channels)) for n in block
        }
        self.assertLen(found, 9)
        self.assertTrue(all(name.endswith("_a_conv") for name in found))
        channels = analyze(models.vgg16_bn(width=4))
        self.assertEmpty(removable_blocks(channels))

    @parameterized.parameters(*range(8))
    def test_compact_equals_gated(self, which):
        model = bottlenecks()
        models.randomize(model, seed=which)
        pruned = tf_lossprune.prune_model(
            model, {"macs": 1.0}, method="uniform", remove_blocks=True
        )
        kept = np.ones(pruned.channel_graph.num_units + 1, "float32")
        for bit, block in enumerate(removable_blocks(pruned.channel_graph)):
            if which >> bit & 1:
                for k in block:
                    kept[pruned.groups[k].units] = 0.0
        kept[pruned.groups[0].units[0]] = 0.0
        pruned.search.kept.assign(kept)
        compact = tf_lossprune.strip_pruning(pruned)
        x = np.random.default_rng(which).normal(size=(2, 8, 8, 3)).astype("float32")
        compare(pruned(x, training=False), compact(x, training=False))
        self.assertEqual(pruned.cost()["macs"], tf_lossprune.cost(compact)["macs"])
        left = {layer.name for layer in compact.layers}
        for bit, name in enumerate(("plain", "narrow", "expand")):
            self.assertEqual(name in left, not which >> bit & 1)
        for layer in compact.layers:
            self.assertTrue(type(layer).__module__.startswith("keras."))

    def test_small_budgets_remove_blocks_only_if_told(self):
        model = models.resnet20(width=4)
        models.randomize(model, seed=0)
        smallest = tf_lossprune.inspect_model(model).smallest["macs"]
        budget = {"macs": 0.9 * smallest}
        with self.assertRaises(tf_lossprune.InfeasibleBudgetError):
            tf_lossprune.prune_model(model, budget, method="uniform")
        pruned = tf_lossprune.prune_model(
            model, budget, method="uniform", remove_blocks=True
        )
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertIn(0, [kept for kept, _ in pruned.kept_channels().values()])
        dense = tf_lossprune.cost(model)["macs"]
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], budget["macs"] * dense)

    def test_learning_may_remove_blocks(self):
        model = models.resnet20(width=4)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.06}, remove_blocks=True)
        pruned.compile(
            "sgd", keras.losses.SparseCategoricalCrossentropy(True), jit_compile=False
        )
        x = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:]))
        logs = pruned.fit(x, np.arange(32) % 10, batch_size=4, epochs=4, verbose=0)
        self.assertTrue(np.isfinite(logs.history["loss"]).all())
        compact = tf_lossprune.strip_pruning(pruned)
        dense = tf_lossprune.cost(model)["macs"]
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], 0.06 * dense)
