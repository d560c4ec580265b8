"""From what the loss wants to whole widths that keep the budget."""

from tf_lossprune.allocation.constraint import (
    CONSTRAINTS,
    AugmentedLagrangian,
    Constraint,
    Projection,
)
from tf_lossprune.allocation.schedule import SCHEDULES, Schedule
from tf_lossprune.allocation.usage import Usage
from tf_lossprune.allocation.widths import (
    LEAST_MULTIPLE,
    choose_units,
    fit_widths,
    minimum_widths,
    width_steps,
)
from tf_lossprune.allocation.worth import largest_scale

__all__ = [
    "CONSTRAINTS",
    "LEAST_MULTIPLE",
    "SCHEDULES",
    "AugmentedLagrangian",
    "Constraint",
    "Projection",
    "Schedule",
    "Usage",
    "choose_units",
    "fit_widths",
    "largest_scale",
    "minimum_widths",
    "width_steps",
]
