"""ECC: primal-dual steps on the ratios, which never see the task loss."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lossprune.config import check_positive
from tf_lossprune.gates.weight_slices import weight_slices
from tf_lossprune.methods.base import Method, register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.step import Step
from tf_lossprune.types import BackendTensor


class EccSearch(Search):
    """Trades the norm of what falls below each ratio against the cost's price."""

    def make_variables(self, groups: int, total: int) -> None:
        self.log_ratio = self.variable((groups,), 0.0, "log_ratio")
        self._slices = [
            s
            for s in weight_slices(self.channel_graph)
            if s.role == "producer" and any(s.units)
        ]

    def learned(self) -> list[keras.Variable]:
        return [self.log_ratio]

    def ratios(self, limits: BackendTensor | None = None) -> BackendTensor:
        return ops.clip(ops.exp(self.log_ratio.value), self.min_ratios, 1.0)

    def _kept(self) -> BackendTensor:
        """`[num_units + 1]`: 1 for the units inside their group's ratio."""
        count = ops.round(self.ratios() * self.layout.sizes.astype("float32"))
        rank = ops.cast(self.ranks(self.importance.value), "float32")
        return self.layout.flat(ops.cast(rank < count[:, None], "float32"))

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        self.importance.assign(
            ops.where(searching, self.current_importance(), self.importance.value)
        )
        return super().draw(searching, limits)

    def penalty(self) -> BackendTensor:
        dropped = 1.0 - self._kept()
        return self.method.strength * sum(
            ops.sum(s.sums(2) * ops.take(dropped, s.units.astype("int32")))
            for s in self._slices
        )

    def learn(self, step: Step, gate_gradient: BackendTensor) -> list[BackendTensor]:
        sizes = self.layout.sizes.astype("float32")
        # What the next channel to go weighs: the derivative of the dropped norm.
        count = ops.round(step.ratios * sizes)
        rank = ops.cast(self.ranks(self.importance.value), "float32")
        last = ops.cast(rank == ops.maximum(count - 1.0, 0.0)[:, None], "float32")
        squares = ops.square(self.layout.rows(self.importance.value))
        saliency = ops.sum(squares * last * self.layout.valid, axis=1)
        prices = sum(
            self.multipliers.value[index] * cost.gradient_fraction(step.ratios)
            for index, cost in enumerate(self.costs)
        )
        gradient = (prices - saliency / np.float32(len(sizes))) * step.ratios
        gradient = ops.where(step.ratios < 1.0, gradient, ops.maximum(gradient, 0.0))
        excess = self.fractions(step.ratios) - step.limits
        pushed = ops.maximum(self.multipliers.value + self.method.rate * excess, 0.0)
        self.multipliers.assign(pushed)
        return [gradient]


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Ecc(Method):
    """Ratios from the gradient of the cost against weight norms, primal and dual.

    Energy-constrained compression: Yang et al., CVPR 2019, arXiv 1812.00481, with
    any resource in the place of energy. Descent in the ratios on
    `z (F - B) - (norm of what is kept)`, ascent in the multiplier z; the weights
    below the ratios are shrunk by a quadratic penalty (a proximal step there).
    The task loss moves the weights only.

    Args:
        strength: float > 0, the penalty's factor.
        rate: float > 0, the multiplier's step.
    """

    name = "ecc"
    trains = True
    search_class = EccSearch
    learning_rate = 0.02

    def __init__(self, strength: float = 1e-3, rate: float = 0.2) -> None:
        self.strength = check_positive("strength", strength)
        self.rate = check_positive("rate", rate)

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength, "rate": self.rate}


register_method(Ecc)
