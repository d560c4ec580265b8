"""What all settings objects have in common."""

import numbers
from typing import Any


def check_number(name: str, value: Any) -> None:
    """Raises `TypeError` unless a value is a real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"Expected {name} as a number. "
            f"Received: {value!r} (of type {type(value).__name__})"
        )


def check_positive(name: str, value: Any) -> float:
    """Returns a number above 0; raises `TypeError` or `ValueError` for others."""
    check_number(name, value)
    if not 0 < value < float("inf"):
        raise ValueError(f"Expected {name} above 0. Received: {value!r}")
    return value


def check_share(name: str, value: Any) -> float:
    """Returns a number in (0, 1); raises `TypeError` or `ValueError` for others."""
    check_number(name, value)
    if not 0 < value < 1:
        raise ValueError(f"Expected {name} in (0, 1). Received: {value!r}")
    return value


def check_count(name: str, value: Any, least: int) -> int:
    """Returns an int from `least` on; raises `TypeError` or `ValueError` for others."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"Expected {name} as a whole number. "
            f"Received: {value!r} (of type {type(value).__name__})"
        )
    if value < least:
        raise ValueError(
            f"Expected {name} as a whole number of at least {least}. "
            f"Received: {value!r}"
        )
    return int(value)


class Configurable:
    """An object that `keras.saving` can store: by default it has no settings."""

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)
