"""The project's own method: the task loss moves the ratios."""

import keras
import numpy as np
from keras import ops

from tf_lossprune.config import check_share
from tf_lossprune.gates import solve_steepness, solve_threshold
from tf_lossprune.gates.importance import normalize
from tf_lossprune.methods.base import Method, register_method
from tf_lossprune.methods.search import Search

#: A ratio of exactly 1 has no gradient; this close, it has one.
LARGEST_SOFT_RATIO = 1.0 - 1e-3
TAYLOR_DECAY = 0.98


class LossSearch(Search):
    """Ratios by the task loss's gradient through stochastic gates."""

    def make_variables(self, groups, total):
        self.saliency = self.variable((total,), 0.0, "saliency")
        self.level = self.variable((), 0.0, "level")
        self.log_ratio = self.variable((groups,), 0.0, "log_ratio")
        self.steepness = self.variable((groups,), 1.0, "steepness")
        self.taylor = self.variable((total,), 0.0, "taylor")
        # A soft ratio of 0 has no gradient; half a channel has, and rounds to none.
        half = (0.5 / self.layout.sizes).astype("float32")
        self._smallest_soft = np.maximum(self.smallest, half)

    def learned(self):
        return [self.log_ratio]

    def ratios(self, limits=None):
        return self._options.constraint.ratios(
            self.log_ratio.value,
            self.costs,
            self.limits() if limits is None else limits,
            self.smallest,
        )

    def variance(self):
        importance, steepness = self._last_refresh()
        x = self.log_rows(importance)
        p, _ = self._probabilities(x, self._soft(self.ratios()), steepness)
        searching = ops.cast(self.searching(), "float32")
        return searching * ops.mean(self.layout.mean(p * (1.0 - p)))

    def draw(self, searching, limits):
        ratios = self.ratios(limits)
        soft = self._soft(ratios)
        importance, steepness = ops.cond(
            self.refreshing(self._options.importance.interval),
            lambda: self._refreshed(soft),
            self._last_refresh,
        )
        self.importance.assign(importance)
        self.steepness.assign(steepness)
        x = self.log_rows(importance)
        family, layout = self._options.family, self.layout
        p, threshold = self._probabilities(x, soft, steepness)
        p_flat = layout.flat(p)
        noise = keras.random.uniform(
            p_flat.shape, dtype="float32", seed=self.seed_generator
        )
        gates, slope = self._options.draw(p_flat, noise)
        if self.method.order == 2:
            # A running mean does not depend on what is drawn now.
            slope = ops.ones_like(slope)
        # dp_i/dalpha = C f'_i / sum_j f'_j
        density = family.pdf(steepness[:, None] * (x - threshold[:, None]))
        density = density * layout.valid
        share = density / (layout.mean(density)[:, None] + 1e-12)
        return gates, layout.flat(share, first=0.0) * slope, ratios

    def learn(self, step, gate_gradient):
        layout, constraint = self.layout, self._options.constraint
        by_gate = gate_gradient
        if self.method.order == 2:
            by_gate = -self.worth(step, gate_gradient)
        by_ratio = ops.sum(layout.rows(by_gate * step.weight) * layout.valid, axis=1)
        gradient = constraint.gradient(
            step.ratios, by_ratio, self.costs, step.limits, self.multipliers.value
        )
        pushed = constraint.next_multipliers(
            self.multipliers.value, self.fractions(step.ratios), step.limits
        )
        self.multipliers.assign(pushed)
        if self._options.importance.kind == "taylor":
            change = ops.abs(gate_gradient) - self.taylor.value
            self.taylor.assign_add((1.0 - TAYLOR_DECAY) * step.gates * change)
        return [gradient]

    def worth(self, step, gate_gradient):
        """What the loss would rise by, for each gate `[num_units + 1]` turned off.

        Half the diagonal of the empirical Fisher matrix: the mean over images of the
        squared gradient, which is about as many times that over batches. Gradients of
        some batches are many times those of others, and all grow as the network
        shrinks; so each batch's squares count in relation to their own mean, and that
        mean again only where the constraint weighs the loss against the budget.

        Args:
            step: the `Step`.
            gate_gradient: tensor `[num_units + 1]`.
        """
        # A gate that is off has no weights to be judged by: its last value stays.
        on = step.gates * self.layout.flat(self.layout.valid, first=0.0)
        size = ops.square(gate_gradient)
        mean = ops.sum(on * size) / ops.maximum(ops.sum(on), 1.0)
        seen = ops.cast(mean > 0, "float32")
        mean = ops.where(seen > 0, mean, 1.0)
        first = ops.sum(self.saliency.value) == 0
        rate = (1.0 - self.method.decay) * seen
        self.saliency.assign_add(rate * on * (size / mean - self.saliency.value))
        if not self._options.constraint.weighs:
            return self.saliency.value
        level = ops.log(0.5 * step.images * mean) - self.level.value
        self.level.assign_add(ops.where(first, seen, rate) * level)
        return ops.exp(self.level.value) * self.saliency.value

    def current_importance(self):
        scores = self._score()
        if self._options.importance.kind != "taylor":
            return scores
        seen = ops.sum(self.taylor.value) > 0
        return ops.where(seen, normalize(self.taylor.value, self.channels), scores)

    def _last_refresh(self):
        return self.importance.value, self.steepness.value

    def _soft(self, ratios):
        return ops.clip(ratios, self._smallest_soft, LARGEST_SOFT_RATIO)

    def _probabilities(self, x, soft, steepness):
        """Keep probabilities and thresholds of all groups, padded."""
        return solve_threshold(self._options.family, self.layout, x, soft, steepness)

    def _refreshed(self, soft):
        importance = self.current_importance()
        # Weights that broke have no order; the last one stays.
        sound = ops.all(ops.isfinite(importance))
        importance = ops.where(sound, importance, self.importance.value)
        return importance, self.find_steepness(self.log_rows(importance), soft)

    def find_steepness(self, log_importance, ratios):
        """Steepness `[groups]` of the soft thresholds, anew at each refresh.

        Args:
            log_importance: tensor `[groups, widest]`, padded.
            ratios: tensor `[groups]`, in (0, 1).
        """
        variance = self._options.schedule.variance(self.progress())
        family, layout = self._options.family, self.layout
        return solve_steepness(family, layout, log_importance, ratios, variance)

    def log_rows(self, importance):
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

    Its other settings are those of `prune_model`: schedule, importance, family, draw,
    constraint, ratio optimizer.

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
    trains = True
    search_class = LossSearch

    def __init__(self, order: int = 2, decay: float = 0.95) -> None:
        if order not in (1, 2):
            raise ValueError(f"Expected an order of 1 or 2. Received: {order!r}")
        self.order = order
        self.decay = check_share("decay", decay)
        # The mean says the same in every step, and thus moves the ratios faster.
        self.learning_rate = 0.005 if order == 2 else 0.01

    def get_config(self):
        return {"order": self.order, "decay": self.decay}


register_method(Loss)
