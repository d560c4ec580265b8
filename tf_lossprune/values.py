"""The values of variables."""

from typing import Any

import numpy as np
from keras import ops


def numpy_of(variable: Any) -> np.ndarray:
    """A variable's value, also where several devices hold it.

    Inside the scope of a `tf.distribute` strategy, Keras' own conversion fails for
    scalars.
    """
    return ops.convert_to_numpy(ops.convert_to_tensor(variable))
