"""What calls of one's own hold and do: weights, masks, losses, counters, indices."""

import unittest

import keras
import numpy as np
from absl.testing import parameterized
from keras import layers, ops

import tf_lossprune
from tests.graph.exact import check_opened
from tf_lossprune.graph import open_model


def image(*blocks):
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(8, 3, padding="same", name="before")(x)
    for block in blocks:
        y = block(y)
    y = layers.Conv2D(6, 3, name="behind")(y)
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


class Adds(layers.Layer):
    """Adds losses, always or in training."""

    def __init__(self, only_in_training=False, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same")
        self.only_in_training = only_in_training

    def call(self, x, training=None):
        y = self.conv(x)
        if training or not self.only_in_training:
            self.add_loss(0.1 * ops.mean(ops.square(y)))
            self.add_loss(ops.abs(ops.mean(y, axis=(0, 1, 2))))
        return ops.relu(y)


class Counts(layers.Layer):
    """Counts its calls and keeps an average, which it reads before and after."""

    def __init__(self, only_in_training=False, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same")
        self.only_in_training = only_in_training

    def build(self, shape):
        self.conv.build(shape)
        zeros = {"initializer": "zeros", "trainable": False}
        self.count = self.add_weight(shape=(), dtype="int32", **zeros)
        self.average = self.add_weight(shape=(8,), **zeros)

    def call(self, x, training=None):
        y = self.conv(x)
        z = y - self.average
        if training or not self.only_in_training:
            self.count.assign_add(1)
            mean = ops.mean(y, axis=(0, 1, 2))
            self.average.assign(0.9 * self.average + 0.1 * mean)
        return z if self.only_in_training else z + 0.5 * self.average


class Masked(layers.Layer):
    """Code that gets a mask, in the ways in which it is written."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = kind in ("supports", "inner")
        self.kind = kind
        self.lstm = layers.LSTM(6, return_sequences=True)
        self.dense = layers.Dense(6)
        self.inner = Masked("hand") if kind == "inner" else None

    def call(self, x):
        y = self.lstm(x)
        mask = getattr(x, "_keras_mask", None)
        if self.kind == "hand" and mask is not None:
            y = y * ops.cast(mask, y.dtype)[..., None]
        return y + (self.inner or self.dense)(x)


class AsArgument(Masked):
    def call(self, x, mask=None):
        y = self.lstm(x, mask=mask)
        if mask is not None:
            y = y * ops.cast(mask, y.dtype)[..., None]
        return y + self.dense(x)


class Shortens(Masked):
    def call(self, x):
        return self.dense(self.lstm(x)[:, ::2])

    def compute_mask(self, x, mask=None):
        return None if mask is None else mask[:, ::2]


def masks():
    x = keras.Input((8,), dtype="int32")
    y = layers.Embedding(9, 5, mask_zero=True)(x)
    kinds = [Masked("supports"), Masked("inner"), AsArgument("supports"), Shortens("")]
    for block in [*kinds, Masked("")]:
        y = block(y)
    return keras.Model(x, layers.Dense(3)(layers.LSTM(4)(y)))


class Indexes(layers.Layer):
    """Channels and places by their numbers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same")

    def call(self, x):
        y = ops.take(self.conv(x), [3, 1, 0, 2, 7, 6, 5, 4], axis=-1)
        y = 0.3 * ops.cumsum(y, axis=-1) + 0.1 * ops.cumsum(y, axis=1)
        y = ops.where(ops.arange(8)[:, None, None] > 3, y, 0.5 * y)
        y = y + 0.1 * ops.cast(ops.arange(8), "float32")
        y = ops.image.resize(y[:, ::2], ops.shape(x)[1:3])
        y = y + ops.tile(y[:, :1], (1, 8, 1, 1))
        y = ops.reshape(ops.reshape(y, (-1, 64, np.int64(8))), (-1, 8, 8, 8))
        brightest = ops.argmax(ops.mean(y, axis=-1, keepdims=True), 1, keepdims=True)
        return ops.where(y > 0, y, 0.1 * y) + ops.take_along_axis(y, brightest, axis=1)


class ByHand(layers.Layer):
    """Convolutions and dense layers written as operations."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 8))
        self.depthwise = self.add_weight(shape=(3, 3, 8, 1))
        self.transposed = self.add_weight(shape=(2, 2, 6, 8))
        self.dense = [self.add_weight(shape=(6, 6)) for _ in range(4)]
        self.bias = self.add_weight(shape=(8,))

    def call(self, x):
        y = ops.relu(ops.conv(x, self.kernel, padding="same") + self.bias)
        y = ops.depthwise_conv(y, self.depthwise, padding="same")
        y = ops.conv_transpose(y, self.transposed, strides=2)
        y = ops.relu(ops.dot(y, self.dense[0]))
        y = ops.relu(ops.tensordot(y, self.dense[1], axes=1))
        y = ops.relu(ops.einsum("bhwi,io->bhwo", y, self.dense[2]))
        return ops.relu(y @ self.dense[3])


class Words(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(9, 8)
        self.dense, self.head = layers.Dense(6, activation="relu"), layers.Dense(3)

    def build(self, shape):
        self.table = self.add_weight(shape=(9, 8))

    def call(self, ids):
        y = self.embedding(ids[:, 1:]) + ops.take(self.table, ids[:, 1:], axis=0)
        return self.head(ops.mean(self.dense(y), axis=1))


def words():
    model = Words()
    model(np.zeros((1, 5), "int32"))
    return model


def spectral():
    x = keras.Input((8, 8, 3))
    y = layers.SpectralNormalization(layers.Conv2D(8, 3, activation="relu"))(x)
    y = layers.SpectralNormalization(layers.Conv2D(6, 3), power_iterations=2)(y)
    y = layers.SpectralNormalization(layers.Dense(5))(layers.Flatten()(y))
    return keras.Model(x, layers.Dense(3)(y))


class Inside(layers.Layer):
    """Layers in a Sequential model, whose modes Keras has written down."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        flip = layers.RandomFlip(seed=1)
        self.parts = keras.Sequential([flip, layers.Dropout(0.5, seed=1)])

    def call(self, x, training=None):
        return self.parts(x, training=training)


class HeldTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("losses", lambda: image(Adds(), Adds(True)), 4, {"AddedLoss"}),
        ("counters", lambda: image(Counts(), Counts(True)), 4, {"OwnWeight"}),
        ("masks", masks, 8, {"MaskOf", "WithMask"}),
        ("indices", lambda: image(Indexes()), 3, set()),
        ("products", lambda: image(ByHand()), 8, set()),
        ("whole_numbers", words, 2, set()),
        ("spectral_normalization", spectral, 3, set()),
    )
    def test_is_opened(self, make, groups, ours):
        graph, pruned, compact = check_opened(make)
        self.assertEmpty(graph.closed)
        reasons = [why for _, why in pruned.channel_graph.frozen]
        self.assertTrue(all("model output" in why for why in reasons), reasons)
        self.assertLen(pruned.groups, groups)
        kinds = [type(la) for la in compact.layers]
        found = {k.__name__ for k in kinds if k.__module__.startswith("tf_lossprune")}
        self.assertEqual(found, ours)

    def test_a_weight_that_is_changed_is_read_in_order(self):
        block = Counts()
        graph, *_ = check_opened(lambda: image(block, block))
        self.assertEmpty(graph.closed)

    def test_fit_adds_losses_and_counts_in_training(self):
        pruned = tf_lossprune.prune_model(
            image(Adds(), Counts(True, name="counts")),
            {"params": 0.6},
            method="uniform",
            channel_multiple=1,
        )
        pruned.compile("sgd", "mse", jit_compile=False)
        x = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
        y = np.zeros((8, 3), "float32")
        pruned.fit(x, y, batch_size=4, epochs=3, verbose=0)
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertEqual(int(compact.get_layer("counts.count").weight.value), 6)
        plain = float(np.mean(np.square(compact.predict(x, verbose=0))))
        self.assertGreater(pruned.evaluate(x, y, verbose=0), plain + 1e-5)

    def test_inner_layers_follow_the_mode(self):
        graph = open_model(image(Inside()))
        self.assertEmpty(graph.closed)
        kinds = [type(call.operation) for call in graph.calls]
        self.assertIn(layers.Dropout, kinds)
        self.assertIn(layers.RandomFlip, kinds)

    def test_a_model_of_whole_numbers_takes_them(self):
        pruned = tf_lossprune.prune_model(
            words(), {"params": 0.6}, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertEqual(compact.inputs[0].dtype, "int32")


if __name__ == "__main__":
    unittest.main()
