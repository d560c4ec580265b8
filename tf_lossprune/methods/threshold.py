"""One threshold over the scores of all channels, the lowest that keeps a budget."""

import math
from typing import Any

import numpy as np
from keras import ops

from tf_lossprune.config import check_positive
from tf_lossprune.methods.base import Method
from tf_lossprune.methods.search import Search
from tf_lossprune.types import BackendTensor


def threshold_gates(
    search: Search, scores: BackendTensor, limits: BackendTensor
) -> tuple[BackendTensor, BackendTensor]:
    """Keeps the channels with the highest scores, wherever they are.

    Args:
        search: `Search`, for groups and costs.
        scores: tensor `[num_units + 1]`, at least 0, comparable between groups.
        limits: tensor `[budgets]`, the shares of the dense costs that are allowed.

    Returns:
        Gates, 0 or 1, `[num_units + 1]`, which keep at least the fewest channels of
        each group; and their ratios `[groups]`.
    """
    scores = ops.cast(scores, "float32")
    levels = ops.sort(scores[1:])
    count = search.layout.num_units
    must = ops.cast(search.ranks(scores) < search.min_widths[:, None], "float32")
    must = search.layout.flat(must)

    def gates(index: BackendTensor) -> BackendTensor:
        level = ops.take(levels, ops.minimum(index, count - 1))
        above = ops.logical_and(scores >= level, index < count)
        return ops.maximum(ops.cast(above, "float32"), must)

    def ratios(kept: BackendTensor) -> BackendTensor:
        return search.layout.mean(search.layout.rows(kept))

    def halve(_: Any, state: tuple) -> tuple:
        low, high = state
        middle = (low + high) // 2
        excess = ops.max(search.fractions(ratios(gates(middle))) - limits)
        fits = excess <= 1e-6
        return ops.where(fits, low, middle + 1), ops.where(fits, middle, high)

    # Index `count` keeps the fewest channels: that is always enough.
    start = (ops.zeros((), "int32"), ops.full((), count, "int32"))
    steps = math.ceil(math.log2(count + 1)) + 1
    low, high = ops.fori_loop(0, steps, halve, start)
    kept = gates(high)
    return kept, ratios(kept)


def threshold_ratios(
    search: Search, scores: BackendTensor, limits: BackendTensor
) -> np.ndarray:
    """The ratios `[groups]` of `threshold_gates`, as a NumPy array."""
    return ops.convert_to_numpy(threshold_gates(search, scores, limits)[1])


class ThresholdMethod(Method):
    """A method that ends in one threshold over the scores of all channels."""

    def ratios(
        self, search: Search, importance: np.ndarray, limits: np.ndarray
    ) -> np.ndarray:
        return threshold_ratios(search, importance, limits)


class PenaltyMethod(ThresholdMethod):
    """A threshold after training under a penalty on the weights.

    Args:
        strength: float > 0, the penalty's factor.
    """

    trains = True

    def __init__(self, strength: float) -> None:
        self.strength = check_positive("strength", strength)

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}
