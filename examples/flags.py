"""Flags that the examples and the benchmarks share, and how they are parsed."""

import importlib
import json

from absl import flags

from tf_lossprune.budget_text import format_budget, parse_budget

__all__ = [
    "define_data_flags",
    "format_budget",
    "parse_budget",
    "parse_method",
    "parse_options",
]


def define_data_flags(default="fashion_mnist"):
    """Defines `--data` and `--data_file`, for `examples.data.load`."""
    flags.DEFINE_string("data", default, "fashion_mnist, cifar10 or digits.")
    flags.DEFINE_string(
        "data_file",
        None,
        "An .npz file with the images of cifar10; unset: keras.datasets.",
    )


def parse_options(text):
    """Parses a JSON object of keyword arguments of `prune_model`.

    A value `{"class_name": ..., "config": {...}}` becomes an object of that class
    of `tf_lossprune` or `keras.optimizers`, so that schedules, importances and the
    like can be given on the command line; of any other module with its name before
    the class, as in `my_package.my_methods.MyMethod`.

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

    module, _, name = value["class_name"].rpartition(".")
    homes = (tf_lossprune, tf_lossprune.methods, keras.optimizers)
    if module:
        try:
            homes = (importlib.import_module(module),)
        except ImportError as error:
            raise ValueError(
                f"Expected a class of a module that can be imported ({error}). "
                f"Received: {value['class_name']!r}"
            ) from None
    for home in homes:
        if isinstance(getattr(home, name, None), type):
            return getattr(home, name)(**value.get("config", {}))
    raise ValueError(
        "Expected the name of a class of tf_lossprune or keras.optimizers, or one "
        f"with its module. Received: {value['class_name']!r}"
    )
