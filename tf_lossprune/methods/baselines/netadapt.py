"""NetAdapt: greedy steps, each tried out."""

from typing import Any

import keras
import numpy as np

from tf_lossprune.config import check_count
from tf_lossprune.methods.base import Method, register_method
from tf_lossprune.methods.search import Search


@keras.saving.register_keras_serializable(package="tf_lossprune")
class NetAdapt(Method):
    """Cuts one group at a time: the one that costs the least accuracy.

    Yang et al., ECCV 2018, arXiv 1804.03230. In each iteration every group is cut
    alone until the cost has fallen by that iteration's share; the networks are
    evaluated on training batches, the best one is kept and trained for a while.
    Simplified: the candidates are not trained before they are compared, but get
    fresh statistics of their normalisations.

    Args:
        iterations: int >= 1, in which the cost falls from 1 to the budget.
        short_steps: int >= 1, training steps after each.
    """

    name = "netadapt"
    plans = True

    def __init__(self, iterations: int = 12, short_steps: int = 20) -> None:
        self.iterations = check_count("iterations", iterations, 1)
        self.short_steps = check_count("short_steps", short_steps, 1)

    def plan_steps(self) -> int:
        return self.iterations * self.short_steps

    def plan(self, model: Any, evaluate: Any) -> np.ndarray:
        search = model.search
        widths = search.layout.sizes.copy()
        for iteration in range(1, self.iterations + 1):
            limits = search.targets ** (iteration / self.iterations)
            if not _exceeds(search, widths, limits):
                continue
            found = [
                candidate
                for group in range(len(widths))
                if (candidate := _reduced(search, widths, group, limits)) is not None
            ]
            fitting = [c for c in found if not _exceeds(search, c, limits)]
            if fitting:
                scores = [evaluate(c / search.layout.sizes) for c in fitting]
                widths = fitting[int(np.argmax(scores))]
            elif found:  # no group alone is enough: the one that saves most
                widths = min(found, key=lambda c: _excess(search, c, limits))
            evaluate.train(widths / search.layout.sizes, self.short_steps)
        return widths / search.layout.sizes

    def get_config(self) -> dict[str, Any]:
        return {"iterations": self.iterations, "short_steps": self.short_steps}


def _excess(search: Search, widths: np.ndarray, limits: np.ndarray) -> float:
    shares = [cost.total(widths) / cost.dense for cost in search.costs]
    return float(np.max(np.array(shares) - limits))


def _exceeds(search: Search, widths: np.ndarray, limits: np.ndarray) -> bool:
    return _excess(search, widths, limits) > 1e-9


def _reduced(
    search: Search, widths: np.ndarray, group: int, limits: np.ndarray
) -> np.ndarray | None:
    """Widths with one group cut as little as the limits allow, or to its fewest."""
    low, high = int(search.min_widths[group]), int(widths[group])
    if low >= high:
        return None
    candidate = widths.copy()
    while low < high:
        candidate[group] = (low + high + 1) // 2
        if _exceeds(search, candidate, limits):
            high = candidate[group] - 1
        else:
            low = candidate[group]
    candidate[group] = low
    return candidate


register_method(NetAdapt)
