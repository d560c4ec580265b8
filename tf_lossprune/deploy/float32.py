"""Mixed precision, as if it were float32."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Lets all layers of a model compute in float32, and gives them back as they were.

    The layers themselves, as copies would lose what their configurations do not say.
    """
    changed = []
    for layer in model._flatten_layers():
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
