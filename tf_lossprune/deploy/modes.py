"""How a model computes in its file: in float32, and in int8 without loops.

The layers themselves are set so for a while, as copies would lose what their
configurations do not say.
"""

import contextlib
from collections.abc import Iterator

import keras

from tf_lossprune import keras_internals as internals


@contextlib.contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Lets all layers of a model compute in float32 for a while."""
    changed = []
    for layer in internals.all_layers(model):
        if layer.compute_dtype in ("float32", None):
            continue
        policy = layer.dtype_policy
        if policy.quantization_mode is not None:
            plain = f"{policy.quantization_mode}_from_float32"
        else:
            plain = "float32"
        changed.append((layer, policy))
        layer.dtype_policy = plain
    try:
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy


@contextlib.contextmanager
def unrolled(model: keras.Model) -> Iterator[None]:
    """Lets recurrent layers compute without loops, whose ranges cannot be found."""
    changed = [
        layer
        for layer in internals.all_layers(model)
        if isinstance(layer, keras.layers.RNN) and not layer.unroll
    ]
    for layer in changed:
        layer.unroll = True
    try:
        yield
    finally:
        for layer in changed:
            layer.unroll = False
