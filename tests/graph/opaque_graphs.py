"""Random functional graphs that also contain layers which no rule knows."""

import keras
import numpy as np
from keras import ops

from tests.graph.random_graphs import Builder

layers = keras.layers


@keras.saving.register_keras_serializable(package="opaque_graphs")
class Block(layers.Layer):
    """Layers inside a layer."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.depthwise = layers.DepthwiseConv2D(3, padding="same")
        self.norm = layers.BatchNormalization()
        self.dense = layers.Dense(width)

    def build(self, shape):
        self.depthwise.build(shape)
        self.norm.build(shape)
        self.dense.build(shape)

    def call(self, x):
        return self.dense(ops.silu(self.norm(self.depthwise(x))))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="opaque_graphs")
class Mixing(layers.Layer):
    """A weight of its own, and a product with it."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        return x + ops.tanh(ops.matmul(x, self.matrix))


class OpaqueBuilder(Builder):
    """Grows networks with opaque layers among the others."""

    def steps_for(self, x):
        return super().steps_for(x) + 4 * OPAQUE_STEPS[len(x.shape)]

    def block(self, x):
        return Block(self.width())(x)

    def mixing(self, x):
        return Mixing()(x)

    def spectral(self, x):
        return layers.SpectralNormalization(layers.Dense(self.width()))(x)

    def constant(self, x):
        # No two alike, and more than one row: the converter merges the one, and makes
        # a product of single numbers of the other.
        if x.shape[-1] == 1:
            return self.mixing(x)
        self.constants = getattr(self, "constants", 0) + 1
        matrix = np.full((x.shape[-1], self.width()), self.constants, "float32")
        return ops.matmul(x, matrix)

    def folded(self, x):
        """Rows of an image in the batch, and dense layers on them."""
        _, h, w, c = x.shape
        y = ops.reshape(x, (-1, w, c))
        y = layers.Dense(self.width())(layers.Dense(self.width(), "relu")(y))
        return ops.reshape(y, (-1, h, w, y.shape[-1]))

    def each_step(self, x):
        return layers.TimeDistributed(layers.Dense(self.width()))(x)

    def cells(self, x):
        return layers.RNN([layers.GRUCell(3), layers.SimpleRNNCell(self.width())])(x)

    def products(self, x):
        if self.rng.random() < 0.5:
            return layers.Attention()([x, x])
        return ops.matmul(ops.matmul(x, ops.transpose(x, (0, 2, 1))), x)


OPAQUE_STEPS = {
    4: [
        OpaqueBuilder.block, OpaqueBuilder.mixing, OpaqueBuilder.spectral,
        OpaqueBuilder.constant, OpaqueBuilder.folded,
    ],
    3: [
        OpaqueBuilder.each_step, OpaqueBuilder.cells, OpaqueBuilder.products,
        OpaqueBuilder.mixing, OpaqueBuilder.constant,
    ],
    2: [OpaqueBuilder.mixing, OpaqueBuilder.spectral, OpaqueBuilder.constant],
}  # fmt: skip


def opaque_graph(rng, nodes):
    """A random functional model with about `nodes` steps, some of them opaque."""
    return OpaqueBuilder(rng, nodes).model()
