"""Parsing of the flags that the examples and the benchmarks share."""

import json

from tf_lossprune.budget import format_budget, parse_budget

__all__ = ["format_budget", "parse_budget", "parse_options"]


def parse_options(text):
    """Parses a JSON object of keyword arguments of `prune_model`.

    A value `{"class_name": ..., "config": {...}}` becomes an object of that class
    of `tf_lossprune` or `keras.optimizers`, so that schedules, importances and the
    like can be given on the command line.

    Args:
        text: A JSON object, or an empty string for no options.

    Returns:
        Dict of keyword arguments.

    Raises:
        ValueError: If the text is not a JSON object or names no such class.

    Example:
        >>> parse_options('{"min_channels": 2}')
        {'min_channels': 2}
        >>> schedule = '{"class_name": "Schedule", "config": {"search": 0.3}}'
        >>> parse_options('{"schedule": %s}' % schedule)["schedule"].search
        0.3
    """
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(
            f"Expected a JSON object ({error}). Received: {text}"
        ) from None
    if not isinstance(options, dict):
        raise ValueError(f"Expected a JSON object. Received: {text}")
    return {name: _build(value) for name, value in options.items()}


def parse_method(text):
    """Turns a method's name, or a JSON object as in `parse_options`, into a method.

    Example:
        >>> parse_method("loss")
        'loss'
        >>> parse_method('{"class_name": "BnScale", "config": {"strength": 1e-3}}').name
        'bn_scale'
    """
    return _build(json.loads(text)) if text.startswith("{") else text


def _build(value):
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    import keras

    import tf_lossprune

    name = value["class_name"]
    for home in (tf_lossprune, tf_lossprune.methods, keras.optimizers):
        if isinstance(getattr(home, name, None), type):
            return getattr(home, name)(**value.get("config", {}))
    raise ValueError(
        "Expected the name of a class of tf_lossprune or keras.optimizers. "
        f"Received: {name!r}"
    )
