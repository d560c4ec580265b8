"""Uniform widths: the same keep ratio everywhere."""

import keras
import numpy as np

from tf_lossprune.methods.base import Method, register_method


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Uniform(Method):
    """Every group keeps the same share of its channels."""

    name = "uniform"

    def ratios(self, search, importance, limits):
        return np.ones(search.layout.num_groups)


register_method(Uniform)
