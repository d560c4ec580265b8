"""Uniform widths: the same keep ratio everywhere."""

import keras
import numpy as np

from tf_lossprune.methods.base import Method, register_method
from tf_lossprune.methods.search import Search


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Uniform(Method):
    """Every group keeps the same share of its channels."""

    name = "uniform"
    reads_importance = False

    def ratios(
        self, search: Search, importance: np.ndarray, limits: np.ndarray
    ) -> np.ndarray:
        return np.ones(search.layout.num_groups)


register_method(Uniform)
