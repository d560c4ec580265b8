"""Blocks that go entirely."""

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tests.graph.attention_networks import NETWORKS
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


def transformer(first, width=12):
    """Two blocks, with the normalisation before or behind the branches."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 2, strides=2, name="patches")(inputs)
    x = layers.Reshape((16, width))(x)

    def branch(x, function, name):
        norm = layers.LayerNormalization(name=f"norm_{name}")
        return x + function(norm(x)) if first else norm(x + function(x))

    for k in range(2):
        attention = layers.MultiHeadAttention(3, 4, name=f"attention_{k}")
        grouped = layers.GroupQueryAttention(4, 4, 2, name=f"attention_{k}")
        attend = grouped if k else attention
        up = layers.Dense(24, activation="gelu", name=f"up_{k}")
        down = layers.Dense(width, name=f"down_{k}")
        x = branch(x, lambda x, f=attend: f(x, x), f"a_{k}")
        x = branch(x, lambda x, f=up, g=down: g(f(x)), f"b_{k}")
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


class Scaled(layers.Layer):
    """A ConvNeXt block with weights of its own."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.spatial = layers.DepthwiseConv2D(3, padding="same")
        self.norm = layers.LayerNormalization()
        self.up = layers.Dense(3 * width, activation="gelu")
        self.down = layers.Dense(width)

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")

    def call(self, x):
        return x + self.gamma * self.down(self.up(self.norm(self.spatial(x))))


def convnext(size=8, width=8):
    """Blocks as a layer of their own and by hand, on images of any size."""
    inputs = keras.Input((size, size, 3))
    x = layers.LayerNormalization()(layers.Conv2D(width, 2, strides=2)(inputs))
    x = Scaled(width, name="own")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="spatial")(x)
    y = layers.Conv2D(3 * width, 1, name="up")(layers.GroupNormalization(2)(y))
    y = layers.Conv2D(width, 1, name="down")(keras.ops.gelu(y))
    x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


#: Heads, and dimensions of queries and of values, which JAX asks to be as many.
ATTENTION = 2 if keras.backend.backend() == "jax" else 3
#: Name -> network, first layers of its blocks, how many groups each has.
FAMILIES = {
    "pre-norm": (
        lambda: transformer(True),
        ["norm_a_0", "norm_b_0", "norm_a_1", "norm_b_1"],
        [ATTENTION, 1, 2, 1],
    ),
    "post-norm": (
        lambda: transformer(False),
        ["attention_0", "up_0", "attention_1", "up_1"],
        [ATTENTION, 1, 2, 1],
    ),
    "ConvNeXt": (convnext, ["own.spatial", "spatial"], [1, 1]),
    "any size": (lambda: convnext(None), ["own.spatial", "spatial"], [1, 1]),
    "heads by hand": (
        lambda: NETWORKS["fused"](),
        ["first_qkv", "first_up", "second_qkv", "second_up"],
        [1, 1, 1, 1],
    ),
    "mixed positions": (lambda: NETWORKS["mixer"](), None, [1]),
    "own weights": (lambda: NETWORKS["own weights"](), None, [1, 1]),
}


def closed_at_random(pruned, seed):
    """Closes some blocks, all with the last seed, and some channels of other groups."""
    rng = np.random.default_rng(seed)
    kept = np.ones(pruned.channel_graph.num_units + 1, "float32")
    for group in pruned.groups:
        kept[rng.permutation(group.units)[: rng.integers(group.size)]] = 0.0
    for block in removable_blocks(pruned.channel_graph):
        if seed == LAST or rng.random() < 0.5:
            for k in block:
                kept[pruned.groups[k].units] = 0.0
    pruned.search.kept.assign(kept)
    pruned.search.fixed.assign(1)


#: The seed with which all blocks go.
LAST = 2


class BlocksTest(parameterized.TestCase):
    @parameterized.named_parameters((name, name) for name in FAMILIES)
    def test_branches_of_transformers_go_exactly(self, name):
        make, first, groups = FAMILIES[name]
        keras.utils.set_random_seed(0)
        model = make()
        models.randomize(model, seed=0)
        options = {"channel_multiple": 1, "remove_blocks": True}
        found = tf_lossprune.inspect_model(model, resources=["params"], **options)
        self.assertEqual([len(block.groups) for block in found.blocks], groups)
        if first is not None:
            self.assertEqual([block.name for block in found.blocks], first)
        self.assertEmpty(found.kept_blocks)
        self.assertIn(f"block: {found.blocks[0].name}", str(found))
        pruned = tf_lossprune.prune_model(
            model, {"params": 1.0}, method="uniform", **options
        )
        shape = [8 if size is None else size for size in model.input_shape[1:]]
        x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
        for seed in range(LAST + 1):
            closed_at_random(pruned, seed)
            compact = tf_lossprune.strip_pruning(pruned)
            for training in (False, True):
                compare(pruned(x, training=training), compact(x, training=training))
            told, left = pruned.cost(), {layer.name for layer in compact.layers}
            self.assertEqual(told["params"], compact.count_params())
            if "macs" in told:
                self.assertEqual(told["macs"], tf_lossprune.cost(compact)["macs"])
            for block in found.blocks if seed == LAST else ():
                self.assertEmpty(left & {*block.layers})

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
        model = models.build(
            "resnet", input_shape=(8, 8, 1), width=4, stages=2, blocks=1
        )
        share = 0.9 * tf_lossprune.inspect_model(model).smallest["macs"]
        pruned = tf_lossprune.prune_model(model, {"macs": share}, remove_blocks=True)
        pruned.compile(
            "sgd",
            keras.losses.SparseCategoricalCrossentropy(True),
            jit_compile=keras.backend.backend() == "jax",
        )
        x = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:]))
        logs = pruned.fit(x, np.arange(32) % 10, batch_size=4, epochs=4, verbose=0)
        self.assertTrue(np.isfinite(logs.history["loss"]).all())
        compact = tf_lossprune.strip_pruning(pruned)
        dense = tf_lossprune.cost(model)["macs"]
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], share * dense)
