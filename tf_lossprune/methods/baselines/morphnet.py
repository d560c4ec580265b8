"""MorphNet: shrink by the cost's own price of each channel, then widen."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lossprune.allocation import Projection
from tf_lossprune.config import check_positive
from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.baselines.bn_scale import ScaleSearch
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.threshold import PenaltyMethod
from tf_lossprune.types import BackendTensor


class MorphNetSearch(ScaleSearch):
    """Trains under an L1 penalty on `|gamma|` in which each channel counts its cost."""

    def alive(self) -> BackendTensor:
        """`[groups]`: the share of each group's channels above the threshold."""
        scores = self.current_importance()
        mean = ops.sum(scores[1:]) / self.layout.num_units
        rows = self.layout.rows(scores) > self.method.threshold * mean
        share = self.layout.mean(ops.cast(rows, "float32"))
        return ops.maximum(share, self.min_ratios)

    def factors(self) -> BackendTensor:
        alive = self.alive()
        price = sum(cost.gradient_fraction(alive) for cost in self.costs)
        price = price / self.layout.sizes.astype("float32")  # of one channel
        price = self.layout.spread(price)
        return price / (ops.mean(price[1:]) + 1e-12)


@keras.saving.register_keras_serializable(package="tf_lossprune")
class MorphNet(PenaltyMethod):
    """Shrinks the layers whose channels cost much and matter little, then widens all.

    Gordon et al., CVPR 2018, arXiv 1711.06798. The L1 penalty on each batch
    normalisation's scale is weighted by what its channel costs among the channels
    that are alive (factors have mean 1); channels are alive whose scale is above
    `threshold` times the mean. Then all widths are multiplied by the one factor
    that uses the budget. Simplified: a width never exceeds the original one, since
    the weights come from the dense network, and there is one round.

    Args:
        strength: float > 0, the penalty's factor.
        threshold: float > 0, share of the mean scale.
    """

    name = "morphnet"
    search_class = MorphNetSearch

    def __init__(self, strength: float = 1e-3, threshold: float = 0.5) -> None:
        super().__init__(strength)
        self.threshold = check_positive("threshold", threshold)

    def ratios(
        self, search: Search, importance: np.ndarray, limits: np.ndarray
    ) -> np.ndarray:
        alive = ops.log(ops.maximum(search.alive(), 1e-6))
        found = Projection().ratios(
            alive, search.costs, np.asarray(limits, "float32"), search.min_ratios
        )
        return ops.convert_to_numpy(found)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


register_method(MorphNet)
