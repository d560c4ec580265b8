"""Makes a layer again from its config, with the live objects in it.

For layers that get other widths. The config says how the layer is made; functions,
regularizers and the like come from the layer itself, and so does what was set on it
after construction.
"""

import inspect
import types
from typing import Any

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.record import InnerConfig
from tf_lossprune.graph.rules.registry import ruled_class

#: Where a wrapper keeps the layer that its config calls `layer`.
_PLACES = {"layer": ("layer", "forward_layer")}
#: Attributes that belong to a layer's construction, not to what it computes.
_OWN = {"name", "built", "build", "quantize"}
_MAKERS = (
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
)


def from_live_config(operation, overrides):
    """Makes an operation again, unbuilt.

    Args:
        operation: `keras.Operation`.
        overrides: dict, entries of its config to replace.

    Returns:
        A `keras.Operation` without weights; for one of a subclass that only sets
        defaults, one of the class that it sets them for.
    """
    try:
        config = _replaced(live_config(operation), overrides)
    except NotImplementedError:  # of an operation with NumPy's numbers, for one
        if isinstance(operation, keras.Layer):
            raise
        return _with_attributes(operation, overrides)
    with keras.saving.CustomObjectScope(_classes(operation)):
        new = ruled_class(type(operation)).from_config(config)
    hand_on(operation, new, overrides)
    return new


def _with_attributes(operation, overrides):
    """An operation like another one, whose arguments are attributes."""
    kind: Any = type(operation)
    names = [n for n in inspect.signature(kind).parameters if n != "name"]
    given = {n: overrides.get(n, getattr(operation, n)) for n in names}
    return kind(**keras.tree.map_structure(_plain, given))


def with_plain_numbers(operation):
    """An operation of `keras.ops` like one that holds arrays, but with plain numbers.

    Only with these it can be written to a file. Returns None for one that holds no
    arrays, or something else that cannot be written down.
    """
    if not internals.is_stock_operation(type(operation)):
        return None
    held = [x for k, x in vars(operation).items() if not k.startswith("_")]
    if not any(_is_array(x) for x in keras.tree.flatten(held)):
        return None
    try:
        new = _with_attributes(operation, {})
        new.get_config()
    except (AttributeError, NotImplementedError):
        return None
    return new


def _plain(x):
    return keras.ops.convert_to_numpy(x).tolist() if _is_array(x) else x


def _is_array(x):
    variable = isinstance(x, (keras.Variable, keras.KerasTensor))
    if variable:
        return False
    return isinstance(x, (np.generic, np.ndarray)) or keras.ops.is_tensor(x)


def _replaced(config, overrides):
    """A config with other entries, in those of inner layers too."""
    new = dict(config)
    for key, value in overrides.items():
        if isinstance(value, InnerConfig):
            new[key] = _inner_replaced(config[key], value)
        elif isinstance(value, list) and value and isinstance(value[0], InnerConfig):
            pairs = zip(config[key], value, strict=True)
            new[key] = [_inner_replaced(c, v) for c, v in pairs]
        else:
            new[key] = value
    return new


def _inner_replaced(serialized, overrides):
    return {**serialized, "config": _replaced(serialized["config"], overrides)}


def set_entries(layer, overrides):
    """Sets entries of a config as attributes of a layer, and of those inside it.

    Raises:
        AttributeError: if the layer does not have one of these attributes.
    """
    for key, value in overrides.items():
        places = [n for n in _PLACES.get(key, (key,)) if hasattr(layer, n)]
        inner = getattr(layer, places[0] if places else key)
        if isinstance(value, InnerConfig):
            set_entries(inner, value)
        elif isinstance(value, list) and value and isinstance(value[0], InnerConfig):
            for part, entries in zip(inner, value, strict=True):
                set_entries(part, entries)
        else:
            setattr(layer, key, value)


def live_config(operation):
    """An operation's config with the objects themselves in place of their configs."""
    klass: Any = ruled_class(type(operation))
    try:
        config = klass.get_config(operation)
    except Exception:  # of a function that cannot be written down, for one
        config = _shadow(operation).get_config()
    config = unbuilt(config)
    for key, value in config.items():
        places = [getattr(operation, n, None) for n in _PLACES.get(key, (key,))]
        live: Any = next((x for x in places if x is not None), None)
        if isinstance(live, keras.Layer):
            if isinstance(value, dict) and "config" in value:
                config[key] = {**value, "config": live_config(live)}
        elif _are_layers(live) and isinstance(value, list):
            config[key] = [
                {**v, "config": live_config(la)}
                for v, la in zip(value, live, strict=True)
            ]
        elif _is_live(live):
            config[key] = live
    return config


def hand_on(old, new, overrides):
    """Gives a layer what was set on another one of its class, but for its widths.

    Args:
        old, new: layers of one class, `new` unbuilt.
        overrides: dict whose keys are the attributes to leave alone.
    """
    stock = type(old).__module__.split(".")[0] == "keras"
    scalars = (bool, float, str) if stock else (bool, int, float, str)
    for name, value in vars(old).items():
        if name in _OWN or name in overrides or name not in vars(new):
            continue
        if isinstance(value, keras.Layer):
            if type(vars(new)[name]) is type(value):
                hand_on(value, vars(new)[name], overrides)
        elif _is_live(value) or (
            isinstance(value, scalars) and not name.startswith("_")
        ):
            vars(new)[name] = value
    new.trainable = old.trainable if isinstance(old, keras.Layer) else None


def _is_live(x):
    """Whether something is a function or an object that makes or restrains weights."""
    if isinstance(x, (keras.Operation, keras.Variable, type)):
        return False
    return isinstance(x, _MAKERS) or callable(x)


def _are_layers(x):
    """Whether something is a list of layers, such as the cells of a recurrent one."""
    several = isinstance(x, (list, tuple)) and bool(x)
    return several and all(isinstance(layer, keras.Layer) for layer in x)


def unbuilt(config):
    """A config without the input shapes that layers inside a layer were built for."""
    if isinstance(config, dict):
        return {k: unbuilt(v) for k, v in config.items() if k != "build_config"}
    if isinstance(config, list):
        return [unbuilt(v) for v in config]
    return config


def _classes(operation):
    """Dict, name -> class of the layers in an operation that nobody registered."""
    found = {}
    if isinstance(operation, keras.Layer):
        for layer in internals.all_layers(operation):
            if type(layer).__module__.split(".")[0] != "keras":
                found[type(layer).__name__] = type(layer)
    return found


def _shadow(operation):
    """The operation with a stock function in place of each that it holds."""
    shadow = object.__new__(type(operation))
    for name, value in vars(operation).items():
        if isinstance(value, types.FunctionType) and name not in _OWN:
            value = keras.activations.linear
        elif isinstance(value, _MAKERS):
            value = None
        elif isinstance(value, keras.Layer):
            value = _shadow(value)
        vars(shadow)[name] = value
    return shadow
