"""Random graphs with composites: layers with a hand-written call."""

import keras
from keras import layers, ops

from tests.graph.random_graphs import Builder
from tf_lossprune import keras_internals as internals


class Piece(Builder):
    """Grows a random network from an image to an image."""

    def __init__(self, rng, nodes, shape):
        self.rng, self.used, self.shared = rng, set(), []
        self.images, self.sequences, self.vectors = [], [], []
        self.inputs = [keras.Input(shape)]
        self.images.append(self.convolution(self.inputs[0]))
        for _ in range(nodes):
            self.step()

    def steps_for(self, x):
        return [s for s in super().steps_for(x) if s not in _LEAVING]

    def model(self):
        return keras.Model(self.inputs, self.images[-1])


#: Steps whose result is no image.
_LEAVING = {Builder.to_sequence, Builder.to_vector}


@keras.saving.register_keras_serializable(package="composite_graphs")
class Drop(layers.Layer):
    """Stochastic depth by hand."""

    def __init__(self, rate=0.5, seed=7, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, keras.random.SeedGenerator(seed)

    def call(self, x, training=None):
        if not training:
            return x
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        kept = keras.random.uniform(shape, seed=self.seed) > self.rate
        return x / (1 - self.rate) * ops.cast(kept, x.dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


class Noise(layers.Layer):
    """Draws whenever it is called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(11)

    def call(self, x):
        shape = (ops.shape(x)[0], 1, 1, 1)
        return x * keras.random.uniform(shape, seed=self.seed)


class Composite(layers.Layer):
    """Calls what a functional model calls, and something of its own.

    Args:
        parts: functional `keras.Model`.
        kind: what else it does, one of `KINDS`.
    """

    def __init__(self, parts, kind="", **kwargs):
        super().__init__(**kwargs)
        self.parts, self.kind = parts, kind
        self.drop = Drop()
        self.dropout = layers.Dropout(0.3, seed=5)
        self.seed = keras.random.SeedGenerator(9)
        self.noise = Noise()
        if kind == "regularizer":
            self.activity_regularizer = keras.regularizers.L2(0.1)

    def build(self, shape):
        width = self.parts.output_shape[-1]
        if self.kind == "weight":
            self.gamma = self.add_weight(shape=(width,), initializer="ones")
        if self.kind in ("product", "bias"):
            self.kernel = self.add_weight(shape=(3, 3, width, width))
        if self.kind == "bias":
            self.bias = self.add_weight(shape=(width,), initializer="ones")
        if self.kind == "average":
            zeros = {"initializer": "zeros", "trainable": False}
            self.average = self.add_weight(shape=(width,), **zeros)
            self.count = self.add_weight(shape=(), dtype="int32", **zeros)

    def call(self, x, training=None):
        y = internals.run_graph(
            self.parts, x, lambda op: op, lambda op, *args, **kw: op(*args, **kw)
        )
        if self.kind == "weight":
            y = self.gamma * y
        if self.kind in ("product", "bias"):
            y = ops.conv(y, self.kernel, padding="same")
        if self.kind == "bias":
            y = y + self.bias
        if self.kind == "noise":
            y = self.noise(y) if training else y
        if self.kind == "loss":
            self.add_loss(0.1 * ops.mean(ops.square(y)))
        if self.kind == "average":
            y = y - self.average
            if training:
                self.count.assign_add(1)
                mean = ops.mean(y, axis=(0, 1, 2))
                self.average.assign(0.5 * self.average + 0.5 * mean)
        if self.kind == "drop":
            y = y + self.drop(ops.tanh(y))
        if self.kind == "random" and training:
            count = ops.shape(y)[0]
            kept = keras.random.uniform((count, 1, 1, 1), seed=self.seed) > 0.5
            y = ops.tanh(y) * ops.cast(kept, y.dtype)
        if self.kind == "dropout" and training:
            y = self.dropout(y, training=training)
        if self.kind == "sizes":
            count, height, width, channels = ops.shape(y)
            y = ops.reshape(y, (count, height * width, channels))
            y = ops.reshape(ops.relu(y), (-1, height, width, channels))
        return y


KINDS = ("", "weight", "drop", "dropout", "random", "sizes")
KINDS += ("product", "loss", "average", "bias", "noise", "regularizer")


def composite_graph(rng):
    """A random model whose parts are composites: nested ones, and some called twice."""
    x = keras.Input((8, 8, 3))
    y = layers.Conv2D(rng.choice([4, 6]), 3, padding="same")(x)
    for _ in range(rng.choice([1, 2])):
        layer = _composite(rng, y.shape[1:], depth=rng.choice([0, 1]))
        y = layer(y)
        if rng.random() < 0.3:
            same = Composite(_same_shape(rng, y.shape[1:]), rng.choice(KINDS))
            y = same(same(y))
    y = layers.Conv2D(4, 1, activation="relu")(y)
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


def _composite(rng, shape, depth):
    parts = Piece(rng, rng.choice([1, 2, 3]), shape).model()
    if depth:
        x = keras.Input(shape)
        parts = keras.Model(x, _composite(rng, parts.output_shape[1:], 0)(parts(x)))
    return Composite(parts, rng.choice(KINDS))


def _same_shape(rng, shape):
    x = keras.Input(shape)
    y = layers.Conv2D(rng.choice([4, 6]), 3, padding="same")(x)
    y = layers.Conv2D(shape[-1], 1)(layers.BatchNormalization()(y))
    return keras.Model(x, x + y)
