"""What all settings objects have in common."""

import numbers


def check_number(name, value):
    """Raises `TypeError` unless a value is a real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"Expected {name} as a number. "
            f"Received: {value!r} (of type {type(value).__name__})"
        )


def check_count(name, value, least):
    """Raises `TypeError` or `ValueError` unless a value is an int from `least` on."""
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


class Configurable:
    """An object that `keras.saving` can store: by default it has no settings."""

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
