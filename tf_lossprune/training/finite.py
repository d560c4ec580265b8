"""Finds weights that training has ruined."""

import numpy as np

from tf_lossprune.values import numpy_of


def broken_weight(model):
    """The path of the first weight with a NaN, or an Inf that training made; or None.

    Args:
        model: built `keras.Model`.

    Returns:
        A string or None. Weights that are not trained may hold infinities, as
        masks do.
    """
    for variable in model.weights:
        value = numpy_of(variable)
        if not np.issubdtype(value.dtype, np.floating):
            value = value.astype("float32")  # integers, and types such as bfloat16
        bad = ~np.isfinite(value) if variable.trainable else np.isnan(value)
        if bad.any():
            return variable.path
    return None


def check_weights(model):
    """Raises `ValueError` for a model with broken weights.

    Args:
        model: built `keras.Model`.
    """
    broken = broken_weight(model)
    if broken:
        raise ValueError(
            "Expected finite weights: channels cannot be ranked by NaN or Inf. Lower "
            "the learning rate, clip the gradients or use loss scaling, and continue "
            f"from an earlier checkpoint. Received: NaN or Inf in {broken!r}"
        )
