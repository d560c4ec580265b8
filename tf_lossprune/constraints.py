"""Constraints: how the ratios are held to the budget while the loss moves them."""

from tf_lossprune.allocation.constraint import (
    AugmentedLagrangian,
    Constraint,
    Projection,
    register_constraint,
)

__all__ = [
    "AugmentedLagrangian",
    "Constraint",
    "Projection",
    "register_constraint",
]
