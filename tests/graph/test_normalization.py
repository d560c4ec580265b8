"""Networks that normalise over channels: their residual width can be pruned."""

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from examples import models
from tests import judge
from tests.graph.test_random_graphs import check_model, compare
from tf_lossprune import keras_internals as internals
from tf_lossprune.graph import analyze, open_model

layers = keras.layers
LayerScale, StochasticDepth = internals.layers_of_applications(
    "LayerScale", "StochasticDepth"
)


def convnext(normalization=lambda: layers.LayerNormalization(epsilon=1e-6), width=24):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(width, 4, strides=4, name="stem")(inputs)
    x = normalization()(x)
    for _ in range(2):
        y = layers.DepthwiseConv2D(3, padding="same")(x)
        y = layers.Dense(3 * width, activation="gelu")(normalization()(y))
        y = LayerScale(1e-6, width)(layers.Dense(width)(y))
        x = layers.Add()([x, StochasticDepth(0.1)(y)])
    x = normalization()(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def mixer(width=24, patches=16):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(width, 4, strides=4, name="stem")(inputs)
    x = layers.Reshape((patches, width))(x)
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(patches)(layers.Dense(20, activation="gelu")(y))
        x = layers.Add()([x, layers.Permute((2, 1))(y)])
        y = layers.Dense(3 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def u_net(groups, width=32):
    """Blocks of a diffusion model: the skips are normalised together with the rest."""

    def block(x, width):
        skip = x if x.shape[-1] == width else layers.Conv2D(width, 1)(x)
        for _ in range(2):
            x = layers.ReLU()(layers.GroupNormalization(groups)(x))
            x = layers.Conv2D(width, 3, padding="same")(x)
        return layers.Add()([x, skip])

    inputs = keras.Input((8, 8, 3))
    a = block(layers.Conv2D(width, 3, padding="same", name="stem")(inputs), width)
    b = block(layers.Conv2D(2 * width, 3, strides=2, padding="same")(a), 2 * width)
    x = layers.Concatenate()([layers.UpSampling2D()(b), a])
    return keras.Model(inputs, layers.Conv2D(2, 1)(block(x, width)))


class ByHand(layers.Layer):
    """Three ways to write layer normalisation, one after another."""

    def build(self, shape):
        self.gamma, self.scale = (
            self.add_weight(shape=(shape[-1],), initializer="ones") for _ in range(2)
        )
        self.beta = self.add_weight(shape=(shape[-1],))

    def call(self, x):
        x = x - ops.mean(x, axis=-1, keepdims=True)
        square = ops.mean(ops.square(x), axis=-1, keepdims=True)
        x = ops.layer_normalization(x / ops.sqrt(square + 1e-5), self.gamma, self.beta)
        return ops.rms_normalization(x, self.scale)


class NormalizationTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("convnext", convnext),
        ("convnext_rms", lambda: convnext(layers.RMSNormalization)),
        ("mixer", mixer),
        ("u_net_of_few_groups", lambda: u_net(4)),
    )
    def test_can_be_cut_to_a_fifth_exactly(self, build):
        self.check_a_fifth(build())

    @parameterized.named_parameters(
        ("convnext_unit", lambda: convnext(layers.UnitNormalization)),
        (
            "convnext_over_all",
            lambda: convnext(lambda: layers.GroupNormalization(1), width=16),
        ),
        ("u_net_of_many_groups", lambda: u_net(32)),
    )
    @pytest.mark.long
    def test_others_can_be_cut_to_a_fifth_exactly(self, build):
        self.check_a_fifth(build())

    def check_a_fifth(self, model):
        models.randomize(model, 1)
        self.assertNotIn("stem", dict(analyze(model).frozen))
        check_model(model)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.2}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)
        x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:]))
        compare(pruned(x, training=False), compact(x, training=False))
        if keras.backend.backend() == "tensorflow":
            self.assertLessEqual(judge.macs(compact), 0.2 * judge.macs(model))

    def test_groups_of_channels_go_or_shrink(self):
        def widths(groups):
            inputs = keras.Input((4, 4, 3))
            x = layers.Conv2D(24, 1, name="a")(inputs)
            x = layers.Conv2D(2, 1)(layers.GroupNormalization(groups)(x))
            return {g.name: g.size for g in analyze(keras.Model(inputs, x)).groups}

        # 12 pairs go as such; of 3 groups, each keeps the same of its 8 channels.
        self.assertEqual(widths(12), {"a": 12})
        self.assertEqual(widths(3), {"a": 8})
        self.assertEqual(widths(1), {"a": 24})
        self.assertEqual(widths(-1), {"a": 24})

    def test_written_by_hand(self):
        inputs = keras.Input((6, 3))
        x = ByHand()(layers.Dense(8, name="stem")(inputs))
        model = keras.Model(inputs, layers.Dense(2)(x))
        models.randomize(model, 0)
        self.assertEqual(analyze(open_model(model)).groups[0].size, 8)
        check_model(model)

    def test_a_post_norm_block_can_go_as_a_whole(self):
        inputs = keras.Input((6, 3))
        x = layers.Dense(8, name="stem")(inputs)
        y = layers.Dense(8)(layers.Dense(5, activation="relu", name="hidden")(x))
        x = layers.Add()([x, layers.LayerNormalization()(y)])
        model = keras.Model(inputs, layers.Dense(2)(x))
        models.randomize(model, 0)
        pruned = tf_lossprune.prune_model(
            model,
            {"params": 1.0},
            method="uniform",
            channel_multiple=1,
            remove_blocks=True,
        )
        kept = np.ones(pruned.channel_graph.num_units + 1, "float32")
        units = {group.name: group.units for group in pruned.groups}
        kept[units["hidden"]] = 0.0
        kept[units["stem"][[1, 4]]] = 0.0
        pruned.search.kept.assign(kept)
        compact = tf_lossprune.strip_pruning(pruned)
        x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
        compare(pruned(x, training=False), compact(x, training=False))
        self.assertFalse([la for la in compact.layers if la.name == "hidden"])
