"""What the delivered network may cost."""

import math
import numbers

import keras

from tf_lossprune.cost import RESOURCES
from tf_lossprune.errors import InfeasibleBudgetError


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Budget:
    """Upper limits on resources, as shares of the dense model.

    Args:
        limits: dict, resource name (`"macs"`, `"params"`) -> share of the dense
            model's cost, a float in (0, 1]. All of them hold at once.

    Raises:
        TypeError: if `limits` is not a dict of numbers.
        ValueError: for an empty dict, an unknown resource, or a share outside
            (0, 1].

    Example:

    ```python
    Budget({"macs": 0.5, "params": 0.4})
    ```
    """

    def __init__(self, limits):
        if isinstance(limits, Budget):
            limits = limits.limits
        if not isinstance(limits, dict):
            raise TypeError(
                "Expected a budget as a dict such as {'macs': 0.5} or a Budget. "
                f"Received: {limits!r} (of type {type(limits).__name__})"
            )
        if not limits:
            raise ValueError(
                f"Expected a budget on at least one of {sorted(RESOURCES)}. "
                f"Received: {limits!r}"
            )
        self.limits = {name: _check(name, share) for name, share in limits.items()}

    def check_feasible(self, costs, smallest_kept):
        """Raises `InfeasibleBudgetError` unless the smallest widths keep it.

        Args:
            costs: dict, resource -> `CostModel`.
            smallest_kept: int `[groups]`, the fewest channels per group.
        """
        smallest = {
            name: costs[name].total(smallest_kept) / max(costs[name].dense, 1)
            for name in self.limits
        }
        broken = [n for n, share in self.limits.items() if smallest[n] > share]
        if broken:
            reach = ", ".join(f"{n}={smallest[n]:.4f}" for n in broken)
            raise InfeasibleBudgetError(
                "This budget cannot be met: with every prunable group at its "
                f"minimum width the smallest reachable value is {reach} of the dense "
                "model. Raise the budget, lower `min_channels` or "
                "`channel_multiple`, or exclude fewer layers "
                f"(`inspect_model` shows what is frozen). Received: {self.limits}",
                smallest,
            )

    def get_config(self):
        return {"limits": dict(self.limits)}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __eq__(self, other):
        return isinstance(other, Budget) and self.limits == other.limits

    __hash__ = None

    def __repr__(self):
        return f"Budget({self.limits})"


def _check(name, share):
    if name not in RESOURCES:
        raise ValueError(
            f"Expected a resource among {sorted(RESOURCES)}. Received: {name!r}"
        )
    if isinstance(share, bool) or not isinstance(share, numbers.Real):
        raise TypeError(
            f"Expected the budget of {name!r} as a number. "
            f"Received: {share!r} (of type {type(share).__name__})"
        )
    share = float(share)
    if math.isnan(share) or not 0 < share <= 1:
        raise ValueError(
            f"Expected the budget of {name!r} as a share of the dense model in "
            f"(0, 1], for example 0.5 for one half. Received: {share}"
        )
    return share
