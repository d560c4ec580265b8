"""Random pieces of networks in which activations are multiplied with each other."""

import keras
import numpy as np
from keras import layers, ops


def attention(rng, x):
    """Attention of random heads on a sequence, written in one of many ways."""
    positions, heads, dim = x.shape[1], rng.choice([1, 2, 3]), rng.choice([1, 2, 4])
    q, k, v = rng.choice([_apart, _fused, _pieces, _equations])(rng, x, heads, dim)
    scores = ops.matmul(q, ops.swapaxes(k, 2, 3)) * dim**-0.5
    if rng.random() < 0.3:
        shape = rng.choice([(heads, positions, positions), (positions, 1)])
        scores = scores + _numbers(rng, shape)
    if rng.random() < 0.2:
        scores = layers.EinsumDense("bhnm,hg->bgnm", (heads, None, None))(scores)
    scores = rng.choice([ops.softmax, layers.Softmax(), ops.tanh])(scores)
    y = ops.matmul(layers.Dropout(0.1)(scores), v)
    if rng.random() < 0.2:
        y = layers.LayerNormalization()(y)
    if rng.random() < 0.3:
        y = ops.einsum("bhnd->bnhd", y)
        width = rng.choice([3, x.shape[-1]])
        y = layers.EinsumDense("bnhd,hdc->bnc", (None, width), bias_axes="c")(y)
        return layers.Reshape((positions, width))(y)
    y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, positions, heads * dim))
    return layers.Dense(x.shape[-1])(y) if rng.random() < 0.7 else y


def _numbers(rng, shape):
    return np.random.default_rng(rng.randrange(99)).normal(size=shape).astype("f")


def _to_heads(x, heads):
    shape = (-1, x.shape[1], heads, x.shape[2] // heads)
    return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))


def _apart(rng, x, heads, dim):
    return [_to_heads(layers.Dense(heads * dim)(x), heads) for _ in "qkv"]


def _fused(rng, x, heads, dim):
    y = layers.Dense(3 * heads * dim)(x)
    y = ops.reshape(y, (-1, x.shape[1], 3, heads, dim))
    y = ops.transpose(y, (2, 0, 3, 1, 4))
    return ops.unstack(y, axis=0) if rng.random() < 0.5 else [y[0], y[1], y[2]]


def _pieces(rng, x, heads, dim):
    y = layers.Dense(3 * heads * dim)(x)
    if rng.random() < 0.5:
        return [_to_heads(part, heads) for part in ops.split(y, 3, axis=-1)]
    y = _to_heads(y, heads)
    return y[..., :dim], y[..., dim : 2 * dim], y[..., 2 * dim :]


def _equations(rng, x, heads, dim):
    shape = (None, heads, dim)
    return [
        ops.transpose(
            layers.EinsumDense(
                "bnc,chd->bnhd", shape, bias_axes=rng.choice([None, "d", "hd"])
            )(x),
            (0, 2, 1, 3),
        )
        for _ in "qkv"
    ]


def stock_attention(rng, x):
    """Keras' own layers, of one or two sequences."""
    other = x if rng.random() < 0.5 else layers.Dense(x.shape[-1])(x)
    if rng.random() < 0.5:
        other_dims = keras.backend.backend() != "jax"  # which asks for one size
        heads, dims = rng.choice([1, 2, 3]), rng.choice([1, 2] if other_dims else [2])
        layer = layers.MultiHeadAttention(heads, 2, value_dim=dims)
    else:
        layer = layers.GroupQueryAttention(2, rng.choice([2, 4]), 2)
    return layer(x, other)


def product(rng, x):
    """Products of two sequences: over the positions, over the channels, or both."""
    a, b = layers.Dense(3)(x), layers.Dense(rng.choice([3, 4]))(x)
    kind = rng.choice(["positions", "channels", "permutation", "mixing"])
    if kind == "positions":
        y = ops.einsum("bnc,bnd->bcd", a, b)
        return layers.Dense(2)(y)
    if kind == "channels":
        return ops.matmul(a, ops.swapaxes(layers.Dense(3)(x), 1, 2))
    if kind == "permutation":
        return ops.matmul(a, np.eye(3, dtype="float32")[[2, 0, 1]])
    return ops.matmul(b, _numbers(rng, (b.shape[-1], 5)))


def over_positions(rng, x):
    """A dense layer over the positions, as in a mixer."""
    y = layers.Permute((2, 1))(x)
    y = layers.Dense(x.shape[1], activation=rng.choice([None, "gelu"]))(y)
    return x + layers.Permute((2, 1))(y)


def windows(rng, x):
    """Layers on windows of an image, which are folded into the batch."""
    _, height, width, channels = x.shape
    size = 2
    if height % size or width % size:
        return x
    y = ops.roll(x, (1, 1), axis=(1, 2)) if rng.random() < 0.5 else x
    y = ops.reshape(y, (-1, height // size, size, width // size, size, channels))
    y = ops.transpose(y, (0, 1, 3, 2, 4, 5))
    y = ops.reshape(y, (-1, size * size, channels))
    y = attention(rng, y) if rng.random() < 0.7 else layers.Dense(4)(y)
    made = y.shape[-1]
    y = ops.reshape(y, (-1, height // size, width // size, size, size, made))
    y = ops.transpose(y, (0, 1, 3, 2, 4, 5))
    y = ops.reshape(y, (-1, height, width, made))
    return x + y if made == channels and rng.random() < 0.5 else y


def scaled(rng, x):
    """Constants that belong to channels, or to places."""
    channels = x.shape[-1]
    shape = rng.choice([(channels,), (1, channels), (x.shape[1], 1)])
    if len(x.shape) == 4 and len(shape) == 2 and shape[1] == 1:
        shape = (1, *shape)
    return rng.choice([keras.ops.multiply, keras.ops.add])(x, _numbers(rng, shape))
