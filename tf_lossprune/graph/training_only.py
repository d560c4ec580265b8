"""Layers of the user's own that do nothing in inference, such as stochastic depth.

What they do in training cannot be noted where it depends on chance. They need no rule
all the same if each element depends on itself and on chance only: whatever is removed
beside it makes no difference. That is tried out.
"""

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune import keras_internals as internals

#: Stands for a size that is not known.
_SIZE = 4


def passes_elements(layer, shape, dtype, axes):
    """Whether a layer does nothing in inference, and to each element alone in training.

    Args:
        layer: `keras.layers.Layer`; its random state stays as it is.
        shape: tuple, of the one tensor that it takes; None where unknown.
        dtype: string.
        axes: the axes of a batch along which entries may be removed.
    """
    if not internals.takes_training(layer) or layer.weights or not layer.built:
        return False
    if not keras.backend.is_float_dtype(dtype):
        return False
    full = [_SIZE if size is None else size for size in shape]
    small = [_SIZE, *(min(size, _SIZE) for size in full[1:-1]), *full[1:][-1:]]
    return _passes(layer, small, dtype, axes) or (
        small[1:] != full[1:] and _passes(layer, [_SIZE, *full[1:]], dtype, axes)
    )


def _passes(layer, shape, dtype, axes):
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 1.5, shape).astype("float32")
    chosen = rng.random(shape) < 0.5
    try:
        if not np.array_equal(_run(layer, x, dtype, False), _cast(x, dtype)):
            return False
        before = _run(layer, x, dtype, True)
        after = _run(layer, np.where(chosen, x + 1, x), dtype, True)
        if before.shape != x.shape or (before != after)[~chosen].any():
            return False
        for axis in axes:
            fewer = x.take(range(max(1, shape[axis] // 2)), axis)
            if _run(layer, fewer, dtype, True).shape != fewer.shape:
                return False
    except Exception:  # whatever a layer says to numbers
        return False
    return True


def _run(layer, x, dtype, training):
    """Calls it on an array; changed states and added losses are forgotten."""
    with keras.StatelessScope(collect_losses=True) as scope:
        y = layer(ops.convert_to_tensor(x, dtype), training=training)
    if scope.losses:
        raise ValueError("Expected a layer without a loss.")
    (y,) = tree.flatten(y)
    return _cast(y, "float32")


def _cast(x, dtype):
    x = ops.cast(ops.convert_to_tensor(x), dtype)
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")))
