"""Errors which are part of the public interface."""

from typing import Any


class InfeasibleBudgetError(ValueError):
    """No choice of widths meets the budget.

    Attributes:
        smallest: dict, resource name to the smallest share of the dense model
            (0 to 1) which can be reached.
    """

    def __init__(self, message: str, smallest: dict[str, float] | None = None) -> None:
        super().__init__(message)
        self.smallest = dict(smallest or {})


class UncountableError(ValueError):
    """A resource of a model that cannot be counted; the message says where."""


class DifferenceError(RuntimeError):
    """Two networks that must compute the same function do not.

    Attributes:
        pruned: the `PrunedModel` with everything it has learned, or None.
        compact: the compact model that differs from it, or None.
    """

    def __init__(self, message: str, pruned: Any = None, compact: Any = None) -> None:
        super().__init__(message)
        self.pruned = pruned
        self.compact = compact
