"""What a group's width is worth, as the ratios that a method chose reveal it."""

from collections.abc import Callable, Sequence

import numpy as np
from keras import ops

from tf_lossprune.types import Cost

#: Halvings of the range of a common scale: for whole widths, and in single precision.
SCALE_STEPS, FEW_SCALE_STEPS = 60, 28
#: A budget of which less than this share is used does not bind.
BINDING = 0.99
#: What a percent of width is worth at least, in shares of the mean: also groups which
#: the binding budgets do not charge for use what is left of the others.
LEAST_PRICE = 1e-3


class Worth:
    """`price * log(width)` of each group; no channels count as half a step.

    A search stops where what one more percent of a group's width is worth to the loss
    is what it costs, in every group. So the ratios tell the worth: the price of a group
    is its share of the cost, the derivative of the binding budgets by the logarithm of
    its width. Costs are sums of products of widths, which are convex in logarithms:
    among all widths that keep the budgets, whole or not, the ratios' own are the ones
    of the most worth. What rounding loses is thus measured in the units of the loss,
    relative to the search's, and for every method in the same way.

    Args:
        price: float `[groups]`, above 0.
        steps: int `[groups]`, what widths are multiples of.
        wanted: float `[groups]`, the widths of the ratios on the budget.
    """

    def __init__(
        self, price: np.ndarray, steps: np.ndarray, wanted: np.ndarray
    ) -> None:
        self.price, self.wanted = np.asarray(price), np.asarray(wanted)
        self._nothing = 0.5 * np.asarray(steps)

    @classmethod
    def of_ratios(
        cls,
        ratios: np.ndarray,
        costs: Sequence[Cost],
        shares: np.ndarray,
        steps: np.ndarray,
    ) -> "Worth":
        """The worth for which ratios, at a common scale, are the best.

        Args:
            ratios: float `[groups]`, above 0.
            costs: list of `CostFunction`s.
            shares: float `[costs]`, the shares of the dense costs that are allowed.
            steps: int `[groups]`.
        """
        shares = np.maximum(shares, 1e-9)

        def at(scale: float) -> np.ndarray:
            return np.minimum(ratios * scale, 1.0).astype("float32")

        def used(scale: float) -> np.ndarray:
            found = [float(ops.convert_to_numpy(c.fraction(at(scale)))) for c in costs]
            return np.array(found) / shares

        highest = 1.0 / ratios.min()
        scale = largest_scale(
            lambda scale: used(scale).max() <= 1.0, 1e-6, highest, FEW_SCALE_STEPS
        )
        binding = used(scale) >= min(BINDING, used(scale).max())
        price = sum(
            ops.convert_to_numpy(cost.gradient_fraction(at(scale))) * at(scale) / share
            for cost, share, binds in zip(costs, shares, binding)
            if binds
        ).astype(np.float64)
        price = np.maximum(price, LEAST_PRICE * max(price.mean(), 1e-12))
        return cls(price, steps, at(scale) * costs[0].sizes)

    def __call__(self, widths: np.ndarray) -> np.ndarray:
        """What each width is worth.

        Args:
            widths: int `[groups]`.
        """
        return self.price * np.log(np.where(widths > 0, widths, self._nothing))


def largest_scale(
    fits: Callable[[float], bool], low: float, high: float, steps: int = SCALE_STEPS
) -> float:
    """The largest common factor of all ratios whose widths keep the budgets.

    Args:
        fits: function of a factor that says whether they do.
        low, high: floats above 0; `low` must fit.
        steps: int, halvings of the range.
    """
    for _ in range(steps):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
