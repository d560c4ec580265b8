"""Optimizers and their slots."""

from collections.abc import Collection
from typing import Any

import keras

#: Attributes of an optimizer that hold variables, but no state of their own.
_NO_STATE = ("_variables", "_trainable_variables", "_var_to_optimizer_idx")
#: Slots that are means from zero on, of which an optimizer knows how far they have come
#: by its count of steps; and the attributes with their decay.
MEANS_FROM_ZERO = {
    "Adam": {
        "_momentums": "beta_1",
        "_velocities": "beta_2",
        "_velocity_hats": "beta_2",
    },
    "Adamax": {"_m": "beta_1"},
    "Lamb": {"_momentums": "beta_1", "_velocities": "beta_2"},
    "Muon": {"adam_velocities": "adam_beta_2"},
    "Nadam": {"_velocities": "beta_2"},
    "ScheduleFreeAdamW": {"_velocities": "beta_2"},
}


def trained_variables(optimizer: Any) -> list:
    """The weights that an optimizer was built for, in the order of its slots."""
    return optimizer._trainable_variables


def key_of(optimizer: Any, variable: keras.Variable) -> Any:
    """What a weight is called in an optimizer's dicts."""
    return optimizer._var_key(variable)


def state_names(optimizer: Any) -> list[str]:
    """The attributes in which an optimizer may have slots or other state."""
    names = [name for name in vars(optimizer) if name not in _NO_STATE]
    return [name for name in names if not name.startswith("_self_")]  # TensorFlow's


def own_steps(optimizer: Any) -> keras.Variable:
    """An optimizer's own count of steps, which accumulated gradients do not divide."""
    return optimizer._iterations


def rate_or_schedule(optimizer: Any) -> Any:
    """The learning rate: a variable, a schedule or a function."""
    return optimizer._learning_rate


def undecayed(optimizer: Any) -> tuple[Collection, Any]:
    """Which weights a user lets not decay: keys, and a pattern of names or None."""
    return (
        getattr(optimizer, "_exclude_from_weight_decay", ()),
        getattr(optimizer, "_exclude_from_weight_decay_pattern", None),
    )


def part_of(optimizer: Any, variable: keras.Variable) -> int | None:
    """The place of the optimizer that a `MultiOptimizer` has for a weight, or None."""
    return optimizer._var_to_optimizer_idx.get(key_of(optimizer, variable))


def optimizer_map(default: Any, parts: dict[str, Any]) -> Any:
    """What a `MultiOptimizer` is made of.

    Args:
        default: optimizer of weights that are not named.
        parts: dict, path of a weight -> optimizer.
    """
    from keras.src.optimizers.multi_optimizer import OptimizerMap

    return OptimizerMap(default_optimizer=default, optimizer_map=parts)


def factored_squares(optimizer: Any) -> tuple[list, list]:
    """Adafactor's means over rows and over columns, `_r` and `_c`, by weight."""
    return optimizer._r, optimizer._c


#: Their names.
FACTORED_SQUARES = ("_r", "_c")
