"""The registry of layer rules."""

_RULES = {}


def register_rule(*classes):
    """Registers a rule for layer or operation classes.

    A rule is a function `rule(context, layer)` that tells, through the
    `Context`, what the call does with channels. It holds for exactly these
    classes: a subclass may compute something else, so it needs its own line.

    Args:
        *classes: layer classes; or strings, the class names of `keras.ops`
            operations (`"Add"`).

    Returns:
        A decorator that returns the function unchanged.

    Example:

    ```python
    @register_rule(MyScale)
    def my_scale(context, layer):
        channels = context.channels()
        if channels is not None:
            context.weight("scale", {0: channels})
            context.output(context.input_labels[0])
    ```
    """

    def register(function):
        for klass in classes:
            _RULES[klass] = function
        return function

    return register


def find_rule(operation):
    """Returns the rule of a layer or operation, or None."""
    klass = type(operation)
    if klass in _RULES:
        return _RULES[klass]
    if klass.__module__.startswith("keras.src.ops."):
        return _RULES.get(klass.__name__)
    return None
