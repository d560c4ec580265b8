"""Whether a network has been trained at all."""

import keras
import numpy as np

from tf_lossprune.values import numpy_of


def is_fresh(network: keras.Model) -> bool:
    """Whether all biases, scales and statistics are as initializers make them.

    These begin with one value in all channels, and no training leaves it so. A network
    without any says nothing, and counts as trained.

    Args:
        network: built `keras.Model`.
    """
    vectors = [w for w in network.weights if len(w.shape) == 1 and w.shape[0] > 1]
    values = [numpy_of(w) for w in vectors if _floats(w)]
    return bool(values) and all((v == v[0]).all() for v in map(np.asarray, values))


def _floats(weight: keras.Variable) -> bool:
    return keras.backend.is_float_dtype(weight.dtype)
