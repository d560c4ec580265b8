"""The registry of layer rules."""

import collections
from collections.abc import Callable
from typing import Any

import keras

from tf_lossprune import keras_internals as internals

#: What a rule does, for the table of supported layers.
EFFECTS = {
    "prunes": "its own channels are chosen, those of its inputs are cut",
    "cuts": "the channels of its inputs are cut, its own stay",
    "carries": "channels pass through it, with their weights where it has some",
    "freezes": "the channels that reach it stay",
}

#: A rule: `apply(context, layer)`, what it does (a key of `EFFECTS`), a remark.
#: And whether it takes tensors of any layout.
Rule = collections.namedtuple("Rule", ["apply", "effect", "remark", "any_layout"])

_RULES = {}


def register_rule(
    *classes: type | str,
    effect: str = "carries",
    remark: str = "",
    any_layout: bool = False,
) -> Callable[[Callable], Callable]:
    """Registers a rule for layer or operation classes.

    A rule is a function `rule(context, layer)` that tells, through the
    `Context`, what one call does with channels. It holds for these classes and
    for subclasses that only set defaults: another one may compute something else,
    so it needs its own line.

    Args:
        *classes: layer classes; or strings, the class names of `keras.ops`
            operations (`"Add"`).
        effect: string, what it does, for the table of supported layers:
            `"prunes"`, `"cuts"`, `"carries"` or `"freezes"`.
        remark: string, for that table.
        any_layout: bool, whether the rule can tell what happens to inputs whose
            channels vary along several axes (heads and their dimensions), or whose
            batch dimension is not the first. Others get their channels tied until
            they lie along one axis, and are not asked where the batch is elsewhere.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        TypeError: for anything but classes and strings.
        ValueError: for an unknown effect.

    Example:

    ```python
    @tf_lossprune.rules.register_rule(MyScale)
    def my_scale(context, layer):
        channels = context.channels()
        if channels is not None:
            context.weight("scale", {0: channels})
            context.output(context.input_labels[0])
    ```
    """
    for klass in classes:
        if not isinstance(klass, (type, str)):
            raise TypeError(
                "Expected a layer class or the name of an operation's class. "
                f"Received: {klass!r} (of type {type(klass).__name__})"
            )
    if effect not in EFFECTS:
        raise ValueError(
            f"Expected an effect among {sorted(EFFECTS)}. Received: {effect!r}"
        )

    def register(function: Callable) -> Callable:
        for klass in classes:
            _RULES[klass] = Rule(function, effect, remark, any_layout)
        return function

    return register


def stock_layers(*names: str) -> list[type]:
    """The `keras.layers` classes of these names that this version of Keras has."""
    return [getattr(keras.layers, n) for n in names if hasattr(keras.layers, n)]


def find_rule(operation: Any) -> Rule | None:
    """Returns the `Rule` of a layer or operation, or None."""
    klass = ruled_class(type(operation))
    if klass in _RULES:
        return _RULES[klass]
    if internals.is_stock_operation(klass):
        return _RULES.get(klass.__name__)
    return None


def ruled_class(klass: type) -> Any:
    """The class whose rule holds for a layer's class.

    A subclass that only sets defaults (`class Conv3(Conv2D)` with an `__init__`)
    computes what its parent does: it defines nothing that its parent has besides.
    """
    found = klass
    while found not in _RULES and _sets_defaults(found):
        found = found.__bases__[0]
    return found if found in _RULES else klass


def _sets_defaults(klass: type) -> bool:
    stock = klass.__module__.split(".")[0] in ("keras", "builtins", "tf_lossprune")
    if stock or len(klass.__bases__) > 1 or not issubclass(klass, keras.layers.Layer):
        return False
    parent = klass.__bases__[0]
    return all(_is_harmless(name) for name in vars(klass) if hasattr(parent, name))


def _is_harmless(name: str) -> bool:
    if name.startswith("__"):
        return name not in ("__call__", "__new__", "__getattribute__", "__setattr__")
    return name in ("get_config", "from_config")


def all_rules() -> dict[type | str, Rule]:
    """Dict, layer class or operation class name -> `Rule`."""
    return dict(_RULES)
