"""What all settings objects have in common."""

import numbers


def check_number(name, value):
    """Raises `TypeError` unless a value is a real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"Expected {name} as a number. "
            f"Received: {value!r} (of type {type(value).__name__})"
        )


def check_positive(name, value):
    """Returns a number above 0; raises `TypeError` or `ValueError` for others."""
    check_number(name, value)
    if not 0 < value < float("inf"):
        raise ValueError(f"Expected {name} above 0. Received: {value!r}")
    return value


def check_share(name, value):
    """Returns a number in (0, 1); raises `TypeError` or `ValueError` for others."""
    check_number(name, value)
    if not 0 < value < 1:
        raise ValueError(f"Expected {name} in (0, 1). Received: {value!r}")
    return value


def check_count(name, value, least):
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
    return value


class Configurable:
    """An object that `keras.saving` can store: by default it has no settings."""

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
