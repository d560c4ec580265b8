"""A global threshold on weight norms."""

import keras

from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.threshold import ThresholdMethod


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Magnitude(ThresholdMethod):
    """Removes the channels with the smallest norms, wherever they are.

    The norms are divided by their group's mean, so that they compare between
    layers (as in Torch-Pruning's global pruning), and the threshold is the
    lowest that keeps the budget. Norms: Li et al., ICLR 2017, arXiv 1608.08710.
    """

    name = "magnitude"


register_method(Magnitude)
