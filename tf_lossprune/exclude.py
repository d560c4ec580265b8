"""Which layers the user wants left alone."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tf_lossprune.types import Exclude


def excluded_layers(
    layers: Iterable[Any],
    exclude: Exclude,
    names: Mapping[int, str] | None = None,
    option: str = "exclude",
) -> list:
    """Returns the layers that `exclude` (or `filters`, in the same forms) names.

    Args:
        layers: list of layers.
        exclude: None; a regular expression or a list of them, searched for in
            the names; or a function `layer -> bool`, true for excluded layers.
        names: dict, id of a layer -> what it is called; None: its own name.
        option: string, what it is called in messages.

    Raises:
        TypeError: for anything else.
        ValueError: for a pattern that is no regular expression or matches no
            layer.
    """
    names = names or {id(layer): layer.name for layer in layers}
    if exclude is None:
        return []
    if callable(exclude):
        return [layer for layer in layers if exclude(layer)]
    patterns = [exclude] if isinstance(exclude, str) else exclude
    if not isinstance(patterns, (list, tuple, set)) or not all(
        isinstance(p, str) for p in patterns
    ):
        raise TypeError(
            f"Expected {option} as a regular expression, a list of them, or a function "
            f"`layer -> bool`. Received: {exclude!r} (of type {type(exclude).__name__})"
        )
    found = []
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"Expected regular expressions in {option} ({error}). "
                f"Received: {pattern!r}"
            ) from error
        matching = [layer for layer in layers if compiled.search(names[id(layer)])]
        if not matching:
            raise ValueError(
                f"Expected each pattern in {option} to match a layer's name. "
                f"Received: {pattern!r}"
            )
        found += [layer for layer in matching if layer not in found]
    return found
