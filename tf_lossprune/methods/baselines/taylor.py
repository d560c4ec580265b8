"""Iterated pruning by gradient x weight."""

from typing import Any

import keras
from keras import ops

from tf_lossprune.config import check_count, check_share
from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.step import Step
from tf_lossprune.methods.threshold import ThresholdMethod, threshold_gates
from tf_lossprune.types import BackendTensor


class TaylorSearch(Search):
    """Gates channels off, a few at a time, by the running mean of their saliency."""

    follows_importance = False

    def make_variables(self, groups: int, total: int) -> None:
        self.saliency = self.variable((total,), 0.0, "saliency")
        self.mask = self.variable((total,), 1.0, "mask")

    def ratios(self, limits: BackendTensor | None = None) -> BackendTensor:
        return self.layout.mean(self.layout.rows(self.mask.value))

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        seen = ops.sum(self.saliency.value) > 0
        due = ops.logical_and(self.refreshing(self.method.interval), seen)

        def cut() -> BackendTensor:
            kept, _ = threshold_gates(self, self.current_importance(), limits)
            return kept * self.mask.value

        self.mask.assign(ops.cond(due, cut, lambda: self.mask.value + 0.0))
        return self.mask.value, None, self.ratios()

    def learn(self, step: Step, gate_gradient: BackendTensor) -> list[BackendTensor]:
        # The gates are 1 here: their gradient is that of gate x weight, summed.
        change = ops.square(gate_gradient * step.gates) - self.saliency.value
        self.saliency.assign_add((1.0 - self.method.decay) * change)
        return []

    def current_importance(self) -> BackendTensor:
        scores = self.saliency.value * self.mask.value
        return ops.where(ops.sum(scores) > 0, scores, super().current_importance())


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Taylor(ThresholdMethod):
    """Removes the channels with the smallest squared gradient x weight, step by step.

    Molchanov et al., CVPR 2019, arXiv 1906.10771. The saliency of a channel is the
    squared sum of gradient x weight over the kernels that read it, averaged over
    batches; what is gated off does not come back. How many go when follows the
    schedule's falling budget instead of a fixed number.

    Args:
        interval: int >= 1, training steps between two cuts.
        decay: float in (0, 1), of the running mean.
    """

    name = "taylor"
    trains = True
    search_class = TaylorSearch

    def __init__(self, interval: int = 10, decay: float = 0.9) -> None:
        self.interval = check_count("interval", interval, 1)
        self.decay = check_share("decay", decay)

    def get_config(self) -> dict[str, Any]:
        return {"interval": self.interval, "decay": self.decay}


register_method(Taylor)
