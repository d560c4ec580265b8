"""Code as it is written in examples and tutorials, through prune, save and load."""

import os
import tempfile
import unittest

import keras
import numpy as np
from absl.testing import parameterized
from keras import layers, ops

import tf_lossprune
from tests.graph.exact import check_opened, compare, inputs_of
from tf_lossprune.graph import open_model
from tf_lossprune.surgery import copy_graph


class Patches(layers.Layer):
    def call(self, images):
        count = ops.shape(images)[0]
        patches = ops.image.extract_patches(images, size=4)
        sizes = patches.shape
        return ops.reshape(patches, (count, sizes[1] * sizes[2], sizes[3]))


class Positions(layers.Layer):
    """Positions that are cut out and broadcast to what they are added to."""

    def build(self, shape):
        self.table = self.add_weight(shape=(20, shape[-1]))

    def call(self, x):
        shape = ops.shape(x)
        table = ops.convert_to_tensor(self.table)
        table = ops.slice(table, (0, 0), (shape[-2], shape[-1]))
        return ops.broadcast_to(table, shape)


def vision_transformer():
    x = keras.Input((8, 8, 3))
    y = layers.Dense(12)(Patches()(x))
    y = y + Positions()(y)
    z = layers.LayerNormalization()(y)
    y = y + layers.MultiHeadAttention(2, 6)(z, z)
    y = y + layers.Dense(12)(layers.Dense(16, activation="gelu")(y))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling1D()(y)))


def patches_of_features():
    """Involution: a kernel for each place."""
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    kernel = layers.Conv2D(9, 1)(layers.Conv2D(4, 1, activation="relu")(y))
    kernel = layers.Reshape((6, 6, 9, 1))(kernel)
    y = ops.image.extract_patches(y, (3, 3), strides=(1, 1), padding="same")
    y = ops.sum(layers.Reshape((6, 6, 9, 6))(y) * kernel, axis=3)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))


class Words(layers.Layer):
    """Makes a mask that nothing before it has."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = layers.Embedding(9, 8), layers.Embedding(6, 8)

    def call(self, ids):
        places = ops.arange(0, ops.shape(ids)[-1], 1)
        return self.tokens(ids) * 3.0 + self.positions(places)

    def compute_mask(self, ids, mask=None):
        return ops.not_equal(ids, 0)


class Decoder(layers.Layer):
    """Attends to the words before, and has to be told the mode."""

    def __init__(self):
        super().__init__()
        self.words, self.drop = Words(), layers.Dropout(0.2, seed=1)
        self.inner = layers.MultiHeadAttention(2, 4)
        self.cross = layers.MultiHeadAttention(2, 4)
        self.dense, self.back = layers.Dense(12, activation="relu"), layers.Dense(8)

    def call(self, ids, image, training, mask=None):
        x = self.words(ids)
        seen = self.causal(x)
        if mask is not None:
            seen = ops.minimum(ops.cast(mask[:, None, :], "int32"), seen)
        x = x + self.inner(query=x, value=x, key=x, attention_mask=seen)
        x = x + self.cross(query=x, value=image, key=image)
        return x + self.drop(self.back(self.dense(x)), training=training)

    def causal(self, x):
        count, steps = ops.shape(x)[:2]
        rows = ops.arange(steps)[:, None]
        below = ops.cast(rows >= ops.arange(steps), "int32")
        below = ops.reshape(below, (1, steps, steps))
        ones = ops.convert_to_tensor([1, 1])
        return ops.tile(below, ops.concatenate([ops.expand_dims(count, -1), ones], 0))


class Captions(keras.Model):
    def __init__(self):
        super().__init__()
        self.image = keras.Sequential(
            [layers.Conv2D(8, 3, strides=4, activation="relu"), layers.Reshape((-1, 8))]
        )
        self.encoder, self.decoder = layers.Dense(8), Decoder()
        self.head = layers.Dense(4)

    def call(self, inputs, training=None):
        image, ids = inputs
        x, mask = self.encoder(self.image(image)), ops.not_equal(ids, 0)
        return self.head(self.decoder(ids, x, training=training, mask=mask))


def captions():
    model = Captions()
    model([np.zeros((2, 8, 8, 3), "float32"), np.ones((2, 6), "int32")])
    return model


class Attention(layers.Layer):
    """Over the places of an image, with capital letters."""

    def __init__(self, width):
        super().__init__()
        self.query, self.key, self.value = (layers.Dense(width) for _ in range(3))

    def call(self, x):
        count, height, width, _ = ops.shape(x)
        scores = ops.einsum("bhwc, bHWc->bhwHW", self.query(x), self.key(x))
        scores = ops.reshape(scores, (count, height, width, height * width))
        scores = ops.reshape(
            ops.softmax(scores, -1), (count, height, width, height, width)
        )
        return x + ops.einsum("bhwHW,bHWc->bhwc", scores, self.value(x))


def diffusion():
    image, time = keras.Input((4, 4, 3)), keras.Input((1,))
    x = layers.Conv2D(8, 3, padding="same")(image)
    t = layers.Dense(8)(layers.Dense(12, activation="swish")(ops.sin(time)))
    x = layers.GroupNormalization(2)(x + t[:, None, None, :])
    x = Attention(8)(keras.activations.swish(x))
    return keras.Model([image, time], layers.Conv2D(3, 3, padding="same")(x))


class Sampling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, scale = inputs
        noise = keras.random.normal((ops.shape(mean)[0], 3), seed=self.seed)
        return mean + ops.exp(scale) * noise


class Autoencoder(layers.Layer):
    """Samples in training, and takes the mean in inference."""

    def __init__(self):
        super().__init__()
        self.encoder = layers.Dense(12, activation="relu")
        self.mean, self.scale = layers.Dense(3), layers.Dense(3)
        self.sampling, self.decoder = Sampling(), layers.Dense(10, activation="relu")

    def call(self, x, training=None):
        x = self.encoder(x)
        mean, scale = self.mean(x), self.scale(x)
        self.add_loss(ops.mean(ops.square(mean) + ops.exp(scale)))
        return self.decoder(self.sampling([mean, scale]) if training else mean)


def autoencoder():
    x = keras.Input((6,))
    return keras.Model(x, layers.Dense(6)(Autoencoder()(x)))


class ByHand(layers.Layer):
    """Products with weights, and the weights that are added to them."""

    def build(self, shape):
        def weight(*shape):
            return self.add_weight(shape=shape, initializer="glorot_normal")

        self.kernel, self.bias = weight(3, 3, shape[-1], 8), weight(8)
        self.matrix, self.vector = weight(8, 6), weight(6)
        self.square, self.shared = weight(6, 6), weight(6)

    def call(self, x):
        x = ops.relu(ops.conv(x, self.kernel, padding="same") + self.bias)
        x = ops.relu(ops.add(self.vector, ops.einsum("bhwi,io->bhwo", x, self.matrix)))
        for _ in range(2):
            x = ops.relu(x @ self.square + self.shared)
        return x


def products_by_hand():
    x = keras.Input((6, 6, 3))
    return keras.Model(x, layers.Dense(3)(ByHand()(layers.Conv2D(5, 3)(x))))


@keras.saving.register_keras_serializable(package="styles")
class Sparse(keras.regularizers.Regularizer):
    def __call__(self, x):
        return 0.1 * ops.sum(ops.abs(x)) / ops.cast(ops.shape(x)[0], x.dtype)

    def get_config(self):
        return {}


class Coded(layers.Layer):
    """What its regularizer adds to the loss is not lost."""

    def __init__(self, regularizer):
        super().__init__(activity_regularizer=regularizer)
        self.dense = layers.Dense(8, activation="relu")

    def call(self, x):
        return self.dense(x)


def regularized():
    x = keras.Input((6,))
    y = Coded(Sparse())(Coded("l2")(layers.Dense(8)(x)))
    return keras.Model(x, layers.Dense(3)(y))


def numbers_of_numpy():
    """Operations that Keras itself could not write to a file."""
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    y = ops.pad(y, np.array([[0, 0], [1, 0], [0, 1], [0, 0]]))
    y = ops.tile(y, np.array([1, 1, 2, 1]))
    y = ops.clip(y, np.float32(0.1), np.float64(3))
    y = ops.image.resize(y, (np.int64(6), np.int64(6)))
    y = ops.reshape(layers.Conv2D(4, 3)(y), np.array([-1, 16, 4]))
    y = layers.Lambda(lambda v: ops.relu(v[:, np.int64(1)]))(y)
    return keras.Model(x, layers.Dense(3)(layers.Dense(8)(y)))


#: Those whose compact models have layers of this package.
STYLES = {
    "vision_transformer": (vision_transformer, True),
    "patches_of_features": (patches_of_features, False),
    "captions": (captions, True),
    "diffusion": (diffusion, False),
    "autoencoder": (autoencoder, True),
    "products_by_hand": (products_by_hand, False),
    "numbers_of_numpy": (numbers_of_numpy, False),
}


class StylesTest(parameterized.TestCase):
    @parameterized.named_parameters(*((k, *v) for k, v in STYLES.items()))
    def test_it_is_opened_pruned_saved_and_loaded(self, make, ours):
        # With fewer channels, fewer random numbers are drawn.
        graph, pruned, compact = check_opened(make, cut_modes=(False,))
        self.assertEmpty(graph.closed)
        reasons = [why for _, why in pruned.channel_graph.frozen]
        self.assertNotIn("no rule", " ".join(reasons))
        x = inputs_of(pruned.channel_graph.graph)
        with tempfile.TemporaryDirectory() as folder:
            for model in (compact, pruned):
                path = os.path.join(folder, "model.keras")
                model.save(path)
                loaded = keras.models.load_model(path, safe_mode=False)
                compare(model, loaded, x, (False,))
        found = {type(la).__module__.split(".")[0] for la in compact.layers}
        self.assertEqual("tf_lossprune" in found, ours)

    def test_an_activity_regularizer_is_kept(self):
        model = regularized()
        graph = open_model(model)
        self.assertEmpty(graph.closed)
        x = inputs_of(graph)
        compare(model, copy_graph(graph)[0], x, (False, True))
        pruned = tf_lossprune.prune_model(model, 0.5, method="uniform")
        compact = tf_lossprune.strip_pruning(pruned)
        compact(x)
        wanted, y = [], x
        for layer in compact.layers[1:]:
            y = layer(y)
            if isinstance(layer, layers.Activation):
                wanted.append(layer.activity_regularizer(y))
        self.assertLen(wanted, 2)
        compact(x)
        # Some versions of Keras divide by the number of samples.
        self.assertLen(compact.losses, 2)
        for loss, whole in zip(compact.losses, wanted):
            self.assertIn(round(float(whole / loss), 3), (1.0, len(x)))


if __name__ == "__main__":
    unittest.main()
