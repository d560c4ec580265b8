"""Attention as people write it, in small networks."""

import keras
import numpy as np
from keras import layers, ops


def attend(q, k, v, dim):
    """Softmax attention of heads, `(batch, heads, positions, dim)`."""
    scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * dim**-0.5
    return ops.matmul(ops.softmax(scores, axis=-1), v)


def split_heads(x, heads):
    """`(batch, positions, channels)` to `(batch, heads, positions, dim)`."""
    shape = (-1, x.shape[1], heads, x.shape[2] // heads)
    return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))


def merge_heads(x):
    heads, positions, dim = x.shape[1:]
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, positions, heads * dim))


def three_layers(x, heads, name):
    return [
        split_heads(layers.Dense(x.shape[2], name=f"{name}_{part}")(x), heads)
        for part in "qkv"
    ]


def fused(x, heads, name):
    """One layer; a transposition puts its three parts before the batch."""
    positions, width = x.shape[1:]
    y = layers.Dense(3 * width, name=f"{name}_qkv")(x)
    y = ops.reshape(y, (-1, positions, 3, heads, width // heads))
    y = ops.transpose(y, (2, 0, 3, 1, 4))
    return ops.unstack(y, axis=0) if name == "first" else [y[0], y[1], y[2]]


def split(x, heads, name):
    """One layer, whose output is split; the heads by layers."""
    positions, width = x.shape[1:]
    y = layers.Dense(3 * width, name=f"{name}_qkv")(x)
    parts = ops.split(y, 3, axis=-1)
    shape = (positions, heads, width // heads)
    return [layers.Permute((2, 1, 3))(layers.Reshape(shape)(p)) for p in parts]


def per_head(x, heads, name):
    """One layer, of which each head gets a piece: its query, key and value."""
    y = layers.Dense(3 * x.shape[2], name=f"{name}_qkv")(x)
    y = split_heads(y, heads)
    dim = y.shape[-1] // 3
    return y[..., :dim], y[..., dim : 2 * dim], y[..., 2 * dim :]


def transformer(project, heads=3, dim=4):
    """Two blocks on 16 positions."""
    width = heads * dim
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 2, strides=2, name="patches")(inputs)
    x = layers.Reshape((16, width))(x)
    for name in ("first", "second"):
        y = merge_heads(attend(*project(x, heads, name), dim))
        x = x + layers.Dense(width, name=f"{name}_out")(y)
        y = layers.Dense(2 * width, activation="gelu", name=f"{name}_up")(x)
        x = x + layers.Dense(width, name=f"{name}_down")(y)
    return classified(inputs, x)


def classified(inputs, x):
    axes = list(range(1, len(x.shape) - 1))
    x = layers.Dense(5, name="head")(ops.mean(x, axis=axes))
    return keras.Model(inputs, x)


def to_windows(x, size):
    height, width, channels = x.shape[1:]
    x = ops.reshape(x, (-1, height // size, size, width // size, size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, size * size, channels))


def from_windows(x, size, height, width):
    x = ops.reshape(x, (-1, height // size, width // size, size, size, x.shape[-1]))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height, width, x.shape[-1]))


def shifted_windows(heads=2, dim=4, size=4):
    """A block with windows and one with shifted ones, which a mask keeps apart."""
    width = heads * dim
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 1, name="patches")(inputs)
    allowed = np.random.default_rng(0).random((4, 1, 16, 16)) < 0.5
    mask = np.where(allowed | np.eye(16, dtype=bool), 0.0, -100.0).astype("float32")
    for name in ("first", "second"):
        y = ops.roll(x, (-2, -2), axis=(1, 2)) if name == "second" else x
        q, k, v = fused(to_windows(y, size), heads, name)
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * dim**-0.5
        if name == "second":
            scores = ops.reshape(scores, (-1, 4, heads, 16, 16)) + mask[None]
            scores = ops.reshape(scores, (-1, heads, 16, 16))
        y = merge_heads(ops.matmul(ops.softmax(scores), v))
        y = layers.Dense(width, name=f"{name}_out")(y)
        y = from_windows(y, size, 8, 8)
        x = x + (ops.roll(y, (2, 2), axis=(1, 2)) if name == "second" else y)
        y = layers.Dense(2 * width, activation="gelu", name=f"{name}_up")(x)
        x = x + layers.Dense(width, name=f"{name}_down")(y)
    return classified(inputs, x)


def spatial_reduction(heads=2, dim=4):
    """Keys and values of fewer positions, as in pyramid vision transformers."""
    width = heads * dim
    inputs = keras.Input((8, 8, 3))
    image = layers.Conv2D(width, 1, name="patches")(inputs)
    x = layers.Reshape((64, width))(image)
    q = split_heads(layers.Dense(width, name="q")(x), heads)
    y = ops.reshape(x, (-1, 8, 8, width))
    y = layers.Conv2D(width, 2, strides=2, name="reduce")(y)
    y = layers.Dense(2 * width, name="kv")(ops.reshape(y, (-1, 16, width)))
    y = ops.transpose(ops.reshape(y, (-1, 16, 2, heads, dim)), (2, 0, 3, 1, 4))
    y = merge_heads(attend(q, y[0], y[1], dim))
    return classified(inputs, x + layers.Dense(width, name="out")(y))


def equations(talking=False, heads=3, dim=4):
    """`EinsumDense` and `einsum`; with layers over the heads if they talk."""
    inputs = keras.Input((16, 6))
    x = layers.Dense(8, name="embed")(inputs)
    q, k, v = (
        layers.EinsumDense(
            "bnc,chd->bnhd", (None, heads, dim), bias_axes="hd", name=name
        )
        for name in "qkv"
    )
    scores = ops.einsum("bnhd,bmhd->bhnm", q(x), k(x)) * dim**-0.5
    if talking:
        over = layers.EinsumDense("bhnm,hg->bgnm", (heads, None, None), name="talk")
        scores = over(scores)
    scores = ops.softmax(scores)
    if talking:
        scores = layers.Permute((2, 3, 1))(scores)
        scores = layers.Dense(heads, name="talk_again")(scores)
        scores = layers.Permute((3, 1, 2))(scores)
    y = ops.einsum("bhnm,bmhd->bnhd", scores, v(x))
    out = layers.EinsumDense("bnhd,hdc->bnc", (None, 8), bias_axes="c", name="out")
    return classified(inputs, x + out(y))


def stock_layers():
    """Keras' own layers, of which one reads another's output."""
    inputs = keras.Input((16, 6))
    x = layers.Dense(8, name="embed")(inputs)
    y = layers.Dense(6, name="other")(inputs)
    dims = 4 if keras.backend.backend() == "jax" else 5  # where JAX asks for key_dim
    several = layers.MultiHeadAttention(3, 4, value_dim=dims, name="several")
    x = x + several(x, y)
    grouped = layers.GroupQueryAttention(3, 4, 2, use_bias=False, name="grouped")
    x = x + grouped(x, x, y)
    return classified(inputs, x)


class OwnAttention(layers.Layer):
    """Kernels and relative positions are weights of its own."""

    def __init__(self, heads, heads_first, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.heads_first = heads, heads_first
        places = np.arange(16)
        self.offsets = np.abs(places[:, None] - places)

    def build(self, shape):
        width = shape[-1]
        self.kernel = self.add_weight(shape=(width, 3 * width), name="kernel")
        self.bias = self.add_weight(shape=(3 * width,), name="bias")
        table = (self.heads, 16) if self.heads_first else (16, self.heads)
        self.table = self.add_weight(shape=table, name="table")
        self.out = self.add_weight(shape=(width, width), name="out")

    def call(self, x):
        width = x.shape[-1]
        y = split_heads(ops.matmul(x, self.kernel) + self.bias, self.heads)
        q, k, v = ops.split(y, 3, axis=-1)
        if self.heads_first:
            bias = ops.take(self.table, self.offsets, axis=1)
        else:
            bias = ops.transpose(ops.take(self.table, self.offsets, axis=0), (2, 0, 1))
            bias = bias[None]
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * 0.5 + bias
        y = ops.matmul(ops.softmax(scores), v)
        y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, 16, width))
        return ops.matmul(y, self.out)


def one_operation():
    """Queries, keys and values for `ops.dot_product_attention`."""
    inputs = keras.Input((16, 6))
    x = layers.Dense(12, name="embed")(inputs)
    q, k, v = (
        layers.Reshape((16, 3, 4))(layers.Dense(12, name=name)(x)) for name in "qkv"
    )
    y = ops.reshape(ops.dot_product_attention(q, k, v), (-1, 16, 12))
    return classified(inputs, x + layers.Dense(12, name="out")(y))


def own_weights():
    """Opened layers, and a permutation of the channels as a product."""
    inputs = keras.Input((16, 6))
    x = layers.Dense(8, name="embed")(inputs)
    x = x + OwnAttention(2, True, name="first")(x)
    x = ops.matmul(x, np.eye(8, dtype="float32")[[1, 0, 3, 2, 5, 4, 7, 6]])
    x = x + OwnAttention(4, False, name="second")(x)
    mixing = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    return classified(inputs, layers.Dense(7, name="last")(ops.matmul(x, mixing)))


def without_projections():
    """`Attention` and `AdditiveAttention`, with a key of its own and without."""
    inputs = keras.Input((16, 6))
    x = layers.Dense(8, name="embed")(inputs)
    q, k = (layers.Dense(6, name=name)(x) for name in ("query", "key"))
    x = x + layers.Attention(use_scale=True)([q, x, k])
    q, v = (layers.Dense(5, name=name)(x) for name in ("second_query", "value"))
    x = layers.AdditiveAttention()([q, v])
    q = layers.Dense(5, name="third_query")(x)
    x = layers.Attention(score_mode="concat")([q, x])
    return classified(inputs, x)


def mixer():
    """Dense layers over the positions, and no attention."""
    inputs = keras.Input((16, 6))
    x = layers.Dense(8, name="embed")(inputs)
    y = layers.Permute((2, 1))(x)
    y = layers.Dense(24, activation="gelu", name="up")(y)
    y = layers.Permute((2, 1))(layers.Dense(16, name="down")(y))
    return classified(inputs, x + y)


NETWORKS = {
    "three layers": lambda: transformer(three_layers),
    "fused": lambda: transformer(fused),
    "split": lambda: transformer(split),
    "per head": lambda: transformer(per_head),
    "one head": lambda: transformer(fused, heads=1, dim=8),
    "shifted windows": shifted_windows,
    "spatial reduction": spatial_reduction,
    "equations": equations,
    "talking heads": lambda: equations(talking=True),
    "stock layers": stock_layers,
    "one operation": one_operation,
    "own weights": own_weights,
    "without projections": without_projections,
    "mixer": mixer,
}
