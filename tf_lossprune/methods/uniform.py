"""Uniform widths: the same keep ratio everywhere."""

import numpy as np

from tf_lossprune.methods.base import Method, register_method


class Uniform(Method):
    """Every group keeps the same share of its channels."""

    name = "uniform"

    def ratios(self, channels, costs, shares, importance, smallest):
        return np.ones(len(channels.groups))


register_method(Uniform())
