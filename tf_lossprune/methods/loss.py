"""The project's own method: the task loss moves the ratios."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lossprune.config import check_share
from tf_lossprune.gates import (
    FirstOrder,
    FisherInformation,
    SaliencyEstimator,
    ratio_derivative,
    solve_steepness,
    solve_threshold,
)
from tf_lossprune.gates.importance import normalize
from tf_lossprune.methods.base import Method, register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.step import Step
from tf_lossprune.types import BackendTensor

#: A ratio of exactly 1 has no gradient; this close, it has one.
LARGEST_SOFT_RATIO = 1.0 - 1e-3


class LossSearch(Search):
    """Ratios by the task loss's gradient through stochastic gates."""

    def make_variables(self, groups: int, total: int) -> None:
        self.log_ratio = self.variable((groups,), 0.0, "log_ratio")
        self.steepness = self.variable((groups,), 1.0, "steepness")
        self.estimator = self.method.make_estimator()
        self.estimator.build(self.layout, self.variable)
        self._order = self._options.importance.make_estimator()
        if self._order is not None:
            self._order.build(self.layout, self._importance_variable)
        # A soft ratio of 0 has no gradient; half a channel has, and rounds to none.
        half = (0.5 / self.layout.sizes).astype("float32")
        self._min_soft_ratios = np.maximum(self.min_ratios, half)

    def _importance_variable(
        self, shape: tuple[int, ...], value: float, name: str
    ) -> keras.Variable:
        return self.variable(shape, value, f"importance_{name}")

    def learned(self) -> list[keras.Variable]:
        return [self.log_ratio]

    def ratios(self, limits: BackendTensor | None = None) -> BackendTensor:
        return self._options.constraint.ratios(
            self.log_ratio.value,
            self.costs,
            self.limits() if limits is None else limits,
            self.min_ratios,
        )

    def variance(self) -> BackendTensor:
        importance, steepness = self._last_refresh()
        p = self._solve(importance, self._soft(self.ratios()), steepness).probabilities
        searching = ops.cast(self.searching(), "float32")
        return searching * ops.mean(self.layout.mean(p * (1.0 - p)))

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        ratios = self.ratios(limits)
        soft = self._soft(ratios)
        importance, steepness = ops.cond(
            self.refreshing(self._options.importance.interval),
            lambda: self._refreshed(soft),
            self._last_refresh,
        )
        self.importance.assign(importance)
        self.steepness.assign(steepness)
        solution = self._solve(importance, soft, steepness)
        probabilities = self.layout.flat(solution.probabilities)
        noise = keras.random.uniform(
            probabilities.shape, dtype="float32", seed=self.seed_generator
        )
        gates, slope = self._options.sampler(probabilities, noise)
        derivative = ratio_derivative(self.layout, solution.slope)
        weight = self.layout.flat(derivative, first=0.0)
        if self.estimator.uses_slope:
            weight = weight * slope
        return gates, weight, ratios

    def learn(self, step: Step, gate_gradient: BackendTensor) -> list[BackendTensor]:
        layout, constraint = self.layout, self._options.constraint
        self.estimator.update(step, gate_gradient)
        if self._order is not None:
            self._order.update(step, gate_gradient)
        # The saliency is what the loss rises by as a gate goes from 1 to 0.
        by_gate = -self.saliency() * step.weight
        by_ratio = ops.sum(layout.rows(by_gate) * layout.valid, axis=1)
        gradient = constraint.gradient(
            step.ratios, by_ratio, self.costs, step.limits, self.multipliers.value
        )
        pushed = constraint.next_multipliers(
            self.multipliers.value, self.fractions(step.ratios), step.limits
        )
        self.multipliers.assign(pushed)
        return [gradient]

    def saliency(self) -> BackendTensor:
        """What the loss would rise by, for each gate `[num_units + 1]` turned off."""
        if self._options.constraint.weighs:
            return self.estimator.saliency()
        return self.estimator.relative()

    def current_importance(self) -> BackendTensor:
        scores = super().current_importance()
        if self._order is None:
            return scores
        learned = ops.maximum(self._order.relative(), 0.0)
        seen = ops.sum(learned) > 0
        return ops.where(seen, normalize(learned, self.channel_graph), scores)

    def _last_refresh(self) -> tuple[BackendTensor, BackendTensor]:
        return self.importance.value, self.steepness.value

    def _soft(self, ratios: BackendTensor) -> BackendTensor:
        return ops.clip(ratios, self._min_soft_ratios, LARGEST_SOFT_RATIO)

    def _solve(
        self, importance: BackendTensor, soft: BackendTensor, steepness: BackendTensor
    ) -> Any:
        """The `Solution` of all groups' soft thresholds."""
        return solve_threshold(
            self._options.threshold,
            self.layout,
            self.log_rows(importance),
            soft,
            steepness,
        )

    def _refreshed(self, soft: BackendTensor) -> tuple[BackendTensor, BackendTensor]:
        importance = self.current_importance()
        # Weights that broke have no order; the last one stays.
        sound = ops.all(ops.isfinite(importance))
        importance = ops.where(sound, importance, self.importance.value)
        return importance, self.find_steepness(self.log_rows(importance), soft)

    def find_steepness(
        self, log_importance: BackendTensor, ratios: BackendTensor
    ) -> BackendTensor:
        """Steepness `[groups]` of the soft thresholds, anew at each refresh.

        Args:
            log_importance: tensor `[groups, widest]`, padded.
            ratios: tensor `[groups]`, in (0, 1).
        """
        variance = self._options.schedule.variance(self.progress())
        threshold, layout = self._options.threshold, self.layout
        return solve_steepness(threshold, layout, log_importance, ratios, variance)

    def log_rows(self, importance: BackendTensor) -> BackendTensor:
        """Log-importances, padded `[groups, widest]`, from scores `[num_units + 1]`."""
        return self.layout.rows(ops.log(importance + 1e-6))


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Loss(Method):
    """Ratios by gradient under a kept budget, learned in `fit`.

    After differentiable sparsity allocation (Ning et al., ECCV 2020, arXiv
    2004.02164), which moves the ratios by the loss's first derivative (`order=1`).
    Where the weights are at rest, so are the gates, and that derivative is mostly
    noise of the batch and the draw. What a channel's removal costs is then of second
    order: half its mean squared gradient over images (Fisher pruning: Theis et al.,
    2018, arXiv 1801.05787), which `order=2` takes in its place.

    Its other settings are those of `prune_model`: schedule, importance, threshold,
    sampler, constraint, ratio optimizer.

    Args:
        order: int, 1 or 2.
        decay: float in (0, 1), of the squared gradients' running mean; for order 2.

    Raises:
        ValueError: if `order` is neither 1 nor 2, or `decay` is not in (0, 1).
        TypeError: if `decay` is no number.

    Example:

    ```python
    pruned = tf_lossprune.prune_model(
        model, {"macs": 0.5}, method=tf_lossprune.methods.Loss(order=1)
    )
    ```
    """

    name = "loss"
    trains = freezes_short = True
    search_class = LossSearch

    def __init__(self, order: int = 2, decay: float = 0.95) -> None:
        if order not in (1, 2):
            raise ValueError(f"Expected an order of 1 or 2. Received: {order!r}")
        self.order = order
        self.decay = check_share("decay", decay)
        self.learning_rate = self.make_estimator().learning_rate

    def make_estimator(self) -> SaliencyEstimator:
        """Returns a fresh `SaliencyEstimator`; override it to use your own."""
        return FirstOrder() if self.order == 1 else FisherInformation(self.decay)

    def get_config(self) -> dict[str, Any]:
        return {"order": self.order, "decay": self.decay}


register_method(Loss)
