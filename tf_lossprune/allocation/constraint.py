"""How the ratios are held to the budget while the loss moves them.

Both constraints learn one unconstrained number per group, `log_ratio`, with an
ordinary Keras optimizer; they differ in how it becomes a ratio and in what the
budget adds to its gradient.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops

from tf_lossprune.config import Configurable, check_number
from tf_lossprune.registry import Registry
from tf_lossprune.types import BackendTensor, Cost

#: Bisection steps for the common scale of the ratios.
SCALE_STEPS = 26


class Constraint(Configurable):
    """Base class.

    A constraint is used with `costs`, a list of `CostModel`s, and `limits`, a
    tensor `[len(costs)]` with the shares allowed at this step.

    Attributes:
        name: string, for `prune_model(constraint=...)`.
        weighs: bool, whether it weighs the loss against the budget, so that the scale
            of the loss's gradient matters.
    """

    name: str | None = None
    weighs = True

    def ratios(
        self,
        log_ratio: BackendTensor,
        costs: Sequence[Cost],
        limits: BackendTensor,
        min_ratios: BackendTensor,
    ) -> BackendTensor:
        """Keep ratios `[groups]` from the learned numbers `[groups]`."""
        raise NotImplementedError

    def gradient(
        self,
        ratios: BackendTensor,
        loss_gradient: BackendTensor,
        costs: Sequence[Cost],
        limits: BackendTensor,
        multipliers: BackendTensor,
    ) -> BackendTensor:
        """The gradient with respect to `log_ratio`, `[groups]`.

        Args:
            ratios: tensor `[groups]`, the current ratios.
            loss_gradient: tensor `[groups]`, the task loss's gradient with respect to
                them.
            costs, limits: as above.
            multipliers: tensor `[len(costs)]`.
        """
        raise NotImplementedError

    def next_multipliers(
        self,
        multipliers: BackendTensor,
        fractions: BackendTensor,
        limits: BackendTensor,
    ) -> BackendTensor:
        """The multipliers for the next step."""
        return multipliers


CONSTRAINTS = Registry("constraint", Constraint, "projection")
register_constraint = CONSTRAINTS.register


@register_constraint
class Projection(Constraint):
    """Ratios lie exactly on the budget surface: `ratio = scale * exp(log_ratio)`.

    The common scale is solved anew at each step so that the tightest budget is
    just met (ratios are clipped at 1). Without a signal from the loss the widths
    are thus uniform, and no multiplier can wind up: the budget is met and used at
    every moment. The gradient is projected accordingly: a group gains only what
    the loss pays for it above the price of its cost.
    """

    name = "projection"
    weighs = False

    def ratios(
        self,
        log_ratio: BackendTensor,
        costs: Sequence[Cost],
        limits: BackendTensor,
        min_ratios: BackendTensor,
    ) -> BackendTensor:
        relative = log_ratio - ops.max(log_ratio)

        def at(scale: BackendTensor) -> BackendTensor:
            return ops.clip(ops.exp(relative + scale), min_ratios, 1.0)

        def step(_: Any, state: tuple) -> tuple:
            low, high = state
            middle = 0.5 * (low + high)
            over = self._excess(at(middle), costs, limits) > 0
            return ops.where(over, low, middle), ops.where(over, middle, high)

        # At `high` even the smallest group is at 1, at `low` all are tiny.
        high = -ops.min(relative)
        low, _ = ops.fori_loop(
            0, SCALE_STEPS, step, (ops.full_like(high, -8.0), high + 1e-3)
        )
        return at(low)

    def _excess(
        self, ratios: BackendTensor, costs: Sequence[Cost], limits: BackendTensor
    ) -> BackendTensor:
        shares = ops.stack([c.fraction(ratios) for c in costs])
        return ops.max(shares - limits)

    def gradient(
        self,
        ratios: BackendTensor,
        loss_gradient: BackendTensor,
        costs: Sequence[Cost],
        limits: BackendTensor,
        multipliers: BackendTensor,
    ) -> BackendTensor:
        prices = ops.stack([c.gradient_fraction(ratios) for c in costs])
        shares = ops.stack([c.fraction(ratios) for c in costs])
        binding = ops.cast(
            shares >= ops.max(shares - limits) + limits - 1e-6, "float32"
        )
        price = ops.sum(prices * binding[:, None], axis=0) * ratios
        pull = loss_gradient * ratios
        free = ops.cast(ratios < 1.0 - 1e-6, "float32")
        rate = ops.sum(pull * free) / ops.maximum(ops.sum(price * free), 1e-12)
        gradient = pull - rate * price
        # A group at 1 cannot grow: only a wish to shrink counts there.
        return ops.where(free > 0, gradient, ops.maximum(gradient, 0.0))


@register_constraint
class AugmentedLagrangian(Constraint):
    """The classical augmented Lagrangian for inequalities, in shares of the cost.

    Adds `rho/2 * max(0, F - B + u)**2` per budget to the loss and then sets
    `u <- clip(u + rate * (F - B), 0, limit)`. The clip and the rate keep the
    multiplier from winding up while the budget still descends.

    Args:
        rho: float > 0, the penalty's weight.
        rate: float in (0, 1], the share of the violation that is integrated.
        limit: float > 0, the largest multiplier.
    """

    name = "augmented_lagrangian"

    def __init__(
        self, rho: float = 50.0, rate: float = 0.1, limit: float = 0.2
    ) -> None:
        for name, value in (("rho", rho), ("rate", rate), ("limit", limit)):
            check_number(name, value)
            if not value > 0:
                raise ValueError(f"Expected {name} above 0. Received: {value}")
        self.rho, self.rate, self.limit = rho, rate, limit

    def ratios(
        self,
        log_ratio: BackendTensor,
        costs: Sequence[Cost],
        limits: BackendTensor,
        min_ratios: BackendTensor,
    ) -> BackendTensor:
        return ops.clip(ops.exp(log_ratio), min_ratios, 1.0)

    def gradient(
        self,
        ratios: BackendTensor,
        loss_gradient: BackendTensor,
        costs: Sequence[Cost],
        limits: BackendTensor,
        multipliers: BackendTensor,
    ) -> BackendTensor:
        total = loss_gradient
        for index, cost in enumerate(costs):
            gap = cost.fraction(ratios) - limits[index] + multipliers[index]
            force = self.rho * ops.maximum(gap, 0.0)
            total = total + force * cost.gradient_fraction(ratios)
        gradient = total * ratios
        # Do not let a ratio at 1 drift further out of reach.
        return ops.where(ratios < 1.0, gradient, ops.maximum(gradient, 0.0))

    def next_multipliers(
        self,
        multipliers: BackendTensor,
        fractions: BackendTensor,
        limits: BackendTensor,
    ) -> BackendTensor:
        return ops.clip(multipliers + self.rate * (fractions - limits), 0.0, self.limit)

    def get_config(self) -> dict[str, Any]:
        return {"rho": self.rho, "rate": self.rate, "limit": self.limit}
