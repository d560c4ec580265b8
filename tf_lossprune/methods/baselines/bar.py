"""Budget-aware regularisation: hard-concrete gates before a moving barrier."""

import math
from typing import Any

import keras
from keras import ops

from tf_lossprune.config import check_positive, check_share
from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.step import Step
from tf_lossprune.methods.threshold import ThresholdMethod
from tf_lossprune.types import BackendTensor

#: The stretch of the hard-concrete distribution.
LOW, HIGH = -0.1, 1.1
TEMPERATURE = 2.0 / 3.0
#: Log-odds at the start: almost all gates are open.
START = 2.5
#: Smallest distance to the barrier, in shares of the cost, beyond which the
#: penalty goes on with the slope that it has there.
SMALLEST_GAP = 0.02


class BarSearch(Search):
    """Learns the log-odds of each channel's gate."""

    def make_variables(self, groups: int, total: int) -> None:
        self.log_odds = self.variable((total,), START, "log_odds")

    def learned(self) -> list[keras.Variable]:
        return [self.log_odds]

    def open_probability(self) -> BackendTensor:
        """`[num_units + 1]`: how likely each gate is not 0."""
        shift = TEMPERATURE * math.log(-LOW / HIGH)
        return ops.sigmoid(self.log_odds.value - shift)

    def ratios(self, limits: BackendTensor | None = None) -> BackendTensor:
        return self.layout.mean(self.layout.rows(self.open_probability()))

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        shape = (self.layout.num_units + 1,)
        noise = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        u = ops.clip(noise, 1e-6, 1.0 - 1e-6)
        logit = ops.log(u) - ops.log(1.0 - u) + self.log_odds.value
        soft = ops.sigmoid(logit / TEMPERATURE)
        stretched = soft * (HIGH - LOW) + LOW
        inside = ops.cast(ops.logical_and(stretched > 0, stretched < 1), "float32")
        slope = inside * (HIGH - LOW) * soft * (1.0 - soft) / TEMPERATURE
        gates = ops.clip(stretched, 0.0, 1.0)
        fixed = ops.one_hot(0, shape[0], dtype="float32")  # unit 0 always stays
        return gates * (1.0 - fixed) + fixed, slope * (1.0 - fixed), self.ratios()

    def learn(self, step: Step, gate_gradient: BackendTensor) -> list[BackendTensor]:
        p = self.open_probability()
        by_ratio = 0.0
        for index, cost in enumerate(self.costs):
            share = cost.fraction(step.ratios)
            force = self._barrier_slope(share, step.limits[index])
            by_ratio = by_ratio + force * cost.gradient_fraction(step.ratios)
        # A ratio is the mean of its group's probabilities.
        sizes = self.layout.sizes.astype("float32")
        by_unit = self.layout.spread(by_ratio / sizes) * p * (1.0 - p)
        gradient = gate_gradient * step.weight + self.method.strength * by_unit
        return [gradient]

    def _barrier_slope(
        self, share: BackendTensor, limit: BackendTensor
    ) -> BackendTensor:
        """Derivative by the share V of `V * (V - a)^2 / (b - V)`, 0 below a."""
        a = limit * (1.0 - self.method.margin)
        over = ops.maximum(share - a, 0.0)
        gap = ops.maximum(limit - share, SMALLEST_GAP)
        barrier = over * over / gap
        slope = (2.0 * over * gap + over * over) / (gap * gap)
        return barrier + share * slope

    def current_importance(self) -> BackendTensor:
        return self.open_probability()


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Bar(ThresholdMethod):
    """Gates under a penalty that grows without end towards the budget.

    Lemaire et al., CVPR 2019, arXiv 1811.09332. Each channel has a hard-concrete
    gate (Louizos et al., ICLR 2018, arXiv 1712.01312) with log-odds of its own; the
    expected cost V is penalised by `V * (V - a)^2 / (b - V)` where b falls with the
    schedule and `a = (1 - margin) b`. Simplified: b falls as the schedule's budget
    does, and close to b and beyond it the penalty's slope stays finite. The gates
    have no exact ratio: those most likely open under one threshold are kept.

    Args:
        strength: float > 0, the penalty's factor.
        margin: float in (0, 1), where the penalty begins below the budget.
    """

    name = "bar"
    trains = True
    search_class = BarSearch
    learning_rate = 0.05

    def __init__(self, strength: float = 1.0, margin: float = 0.1) -> None:
        self.strength = check_positive("strength", strength)
        self.margin = check_share("margin", margin)

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength, "margin": self.margin}


register_method(Bar)
