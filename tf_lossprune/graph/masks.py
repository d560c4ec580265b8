"""Masks: arguments that say which time steps count.

Keras hands a mask on in two ways: as an attribute of the tensor, which every layer
reads and sets when it runs, and, where a layer was called on a symbolic tensor that
had one, as an argument of that call. Arguments are kept as they are, attributes come
about by themselves.
"""

import inspect

from keras import tree


def is_mask(name):
    """Whether an argument of this name is a mask, as Keras has it."""
    return name == "mask" or name.endswith("_mask")


def name_masks(operation, args, kwargs):
    """Turns positional masks, and what comes after the first, into keywords.

    Args:
        operation: `keras.Operation`.
        args: tuple, its positional arguments.
        kwargs: dict, its keyword arguments.

    Returns:
        The new args and kwargs.
    """
    names = _names(operation)[: len(args)]
    first = next((i for i, name in enumerate(names) if is_mask(name)), len(args))
    return args[:first], {**dict(zip(names[first:], args[first:])), **kwargs}


def given_masks(operation, args, kwargs, masks):
    """The masks that a call finds at its tensors, under their arguments' names.

    Args:
        operation: `keras.Operation`.
        args, kwargs: its arguments.
        masks: dict, `id(tensor)` -> mask.

    Returns:
        Dict, name of an argument that the call left open -> masks.
    """
    if not masks:
        return {}
    names = _names(operation)
    named = {**dict(zip(names, args)), **kwargs}
    data = {k: v for k, v in named.items() if not is_mask(k) and _has_tensors(v)}
    found = {}
    for name, value in data.items():
        # Keras' own names for them.
        target = "mask" if len(data) == 1 else f"{name}_mask"
        mask = tree.map_structure(lambda x: masks.get(id(x)), value)
        if target in names and named.get(target) is None and any(tree.flatten(mask)):
            found[target] = mask
    return found


def _has_tensors(value):
    return any(hasattr(x, "sample_shape") for x in tree.flatten(value))


def _names(operation):
    """The names of the arguments of an operation's `call`, up to `*args`."""
    parameters = inspect.signature(operation.call).parameters.values()
    stop = next(
        (i for i, p in enumerate(parameters) if p.kind is p.VAR_POSITIONAL), None
    )
    return [p.name for p in parameters][:stop]
