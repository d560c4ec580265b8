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

    Those that are objects are given by name or as `{"class_name": ..., "config":
    {...}}`, as `prune_model` takes them; a class that is not registered with its
    module, as in `my_package.my_methods.MyMethod`.

    Args:
        text: A JSON object, or an empty string for no options.

    Returns:
        Dict of keyword arguments.

    Raises:
        ValueError: If the text is not a JSON object or names no such class.

    Example:
        >>> parse_options('{"min_channels": 2, "sampler": "concrete"}')
        {'min_channels': 2, 'sampler': 'concrete'}
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
    """What `prune_model(method=...)` takes, from a name or from JSON.

    Example:
        >>> parse_method("loss")
        'loss'
        >>> parse_method('{"class_name": "bn_scale", "config": {"strength": 1e-3}}')
        {'class_name': 'bn_scale', 'config': {'strength': 0.001}}
    """
    return _build(json.loads(text)) if text.startswith("{") else text


def _build(value):
    if not isinstance(value, dict) or "." not in value.get("class_name", ""):
        return value
    module, _, name = value["class_name"].rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (AttributeError, ImportError) as error:
        raise ValueError(
            f"Expected a class of a module that can be imported ({error}). "
            f"Received: {value['class_name']!r}"
        ) from None
    return cls(**value.get("config", {}))
