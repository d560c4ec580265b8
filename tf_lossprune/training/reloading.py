"""Says before a file is written whether a model can be read from it again."""

import types
import warnings

import keras

from tf_lossprune.graph.live_config import unbuilt


def check_reloading(model):
    """Checks that a file's layers can be made again from their configs.

    In one process, layers are copied live; a file holds configs and names only.

    Args:
        model: functional `keras.Model`.

    Raises:
        ValueError: if a layer's config cannot make it again. Warns of what reading
            the file needs besides.
    """
    broken, needed = {}, {}
    for layer in model.layers:
        if not _problem(layer, {}):
            continue
        own = _own_objects(layer)
        problem = _problem(layer, own)
        stock = [name for name in own if hasattr(keras.activations, name)]
        if stock:
            problem = f"a function has the name of one of Keras': {stock}"
        if problem:
            broken[layer.name] = f"{type(layer).__name__}: {problem}"
        needed.update(own)
    if broken:
        raise ValueError(
            "Expected layers that a file can hold: `get_config` has to return what "
            "`__init__` takes, and functions need a name of their own, registered by "
            "`keras.saving.register_keras_serializable`. Nothing is lost: "
            "`save_weights` works, for the same call of `prune_model` to load, and "
            f"so does `strip_pruning`. Received: {broken}"
        )
    if needed:
        warnings.warn(
            "Reading this file needs `custom_objects` with, or "
            "`keras.saving.register_keras_serializable` on, "
            f"{', '.join(sorted(needed))}.",
            stacklevel=4,
        )


def _problem(layer, custom_objects):
    """Why a layer is not what it was when it is made from its config; or None."""
    try:
        if _same(layer, _made_again(layer, custom_objects)):
            return None
        return "another function is found under the name of one"
    except Exception as error:  # whatever a constructor of the user's raises
        return str(error)


def _made_again(layer, custom_objects):
    config = unbuilt(keras.saving.serialize_keras_object(layer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lambdas, which `safe_mode=False` reads
        return keras.saving.deserialize_keras_object(
            config, custom_objects=custom_objects, safe_mode=False
        )


def _inner(layer):
    """A layer and those inside it, with the attributes' names."""
    yield layer
    for value in vars(layer).values():
        if isinstance(value, keras.Layer):
            yield from _inner(value)


def _own_objects(layer):
    """Dict, name -> class or function in a layer that is not Keras' own."""
    found = {}
    for part in _inner(layer):
        for x in (part, *vars(part).values()):
            named = x if isinstance(x, types.FunctionType) else type(x)
            module = getattr(named, "__module__", "") or ""
            root = module.split(".")[0]
            if root in ("keras", "builtins", "inspect") or named is types.MethodType:
                continue
            if callable(x) and named.__name__ != "<lambda>":
                found[named.__name__] = named
    return found


def _same(old, new):
    """Whether the functions in two layers are the same, but for lambdas."""
    for name, value in vars(old).items():
        if isinstance(value, types.FunctionType) and name not in ("build", "quantize"):
            if value.__name__ != "<lambda>" and vars(new).get(name, value) is not value:
                return False
        if isinstance(value, keras.Layer) and isinstance(
            vars(new).get(name), keras.Layer
        ):
            if not _same(value, vars(new)[name]):
                return False
    return True
