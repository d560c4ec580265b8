"""What differs between a layer of Keras 2 (tf_keras) and one of Keras 3.

Both have the same stock layers under the same names, with nearly the same arguments.
Arguments that only one of them knows may be left out where they have their default
value; everything else is translated here or is an error that names the layer.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: Arguments that do not matter for what a trained layer computes.
_IRRELEVANT = {"seed", "implementation", "use_cudnn", "flash_attention", "dtype"}
_IRRELEVANT |= {"batch_input_shape", "batch_shape", "build_config"}
_IRRELEVANT |= {"query_shape", "key_shape", "value_shape", "quantization_config"}

#: Activations that are one function in both.
_COMMON = {"linear", "relu", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus"}
_COMMON |= {"softsign", "exponential", "gelu", "mish"}

#: Where a wrapper keeps a layer that its config has under another name.
_PLACES = {"layer": "forward_layer"}

#: Names that differ: of Keras 3 -> of Keras 2.
_ARGUMENTS = {("LeakyReLU", "negative_slope"): "alpha"}
_FUNCTIONS = {"silu": "swish"}

#: Layers whose activation is the last thing they do, so that it can follow them.
_ACTIVATION_LAST = {"Activation", "Dense", "EinsumDense"} | {
    f"{kind}Conv{rank}D{suffix}"
    for kind in ("", "Depthwise", "Separable")
    for rank in (1, 2, 3)
    for suffix in ("", "Transpose")
}


def carry_layer(
    layer: Any, home: Any, name: str, unique: Callable[[str], str]
) -> tuple[Any, Callable | None]:
    """Makes the counterpart of a layer in the other Keras.

    Args:
        layer: A stock layer of Keras 3 or tf_keras.
        home: Module `tf_keras` or `keras`, where the counterpart is to live.
        name: Its name.
        unique: Function from a name to one that is still free, for further layers.

    Returns:
        The new layer without weights, and a function from its output to the
        tensor that the given layer puts out: an activation that the other Keras
        lacks, in stock layers; None if there is nothing to add.

    Raises:
        ValueError: If there is no counterpart; the message names the layer.
    """
    root = type(layer).__module__.split(".")[0]
    if root not in ("keras", "tf_keras"):
        raise _error(layer.name, "is not a stock layer", type(layer).__name__)
    config = {**_with_own_functions(layer, layer.get_config()), "name": name}
    kind, finish = type(layer).__name__, None
    if kind in _ACTIVATION_LAST and "activation" in config:
        config["activation"], finish = _activation(
            config["activation"], home, layer.name, type(layer), unique
        )
    return _rebuild(kind, config, home, type(layer), layer.name), finish


def _with_own_functions(layer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """A config with the activation functions that are no Keras' own in place."""
    config = dict(config)
    for key, value in config.items():
        inner = getattr(layer, key, getattr(layer, _PLACES.get(key, key), None))
        if isinstance(value, dict) and hasattr(inner, "get_config"):
            if isinstance(value.get("config"), dict) and hasattr(inner, "weights"):
                own = _with_own_functions(inner, value["config"])
                config[key] = {**value, "config": own}
        elif key.endswith("activation") and inspect.isfunction(inner):
            if inner.__module__.split(".")[0] not in ("keras", "tf_keras"):
                config[key] = inner
    return config


def _rebuild(
    kind: str, config: dict[str, Any], home: Any, source: Any, owner: str
) -> Any:
    """An object of class `kind` of `home`.

    Args:
        kind: Name of a layer's class.
        config: Its config in the Keras that it comes from.
        home: Module to make it in.
        source: The class that it comes from; its defaults say what may be left out.
        owner: Name of the layer for messages.
    """
    target = getattr(home.layers, kind, None)
    if target is None:
        raise _error(owner, f"has no counterpart in {home.__name__}", kind)
    known, defaults = _arguments(target), _arguments(source)
    given = {}
    for key, value in config.items():
        key_there = _renamed(kind, key, known)
        if key in _IRRELEVANT or key.endswith("_initializer"):
            continue
        if key_there in known:
            given[key_there] = _value(key, value, home, source, owner)
        elif not _may_be_left_out(key, value, defaults):
            text = f"has an argument that {home.__name__} lacks"
            raise _error(owner, text, f"{key}={value!r}")
    return target(**given)


def _value(key: str, value: Any, home: Any, source: Any, owner: str) -> Any:
    """A value of a config as the other Keras takes it."""
    if key == "axis" and source.__name__ == "BatchNormalization":
        return value if isinstance(value, int) else int(value[0])
    if key.endswith("activation"):
        return _activation(value, home, owner)[0]
    if isinstance(value, dict) and "class_name" in value:
        return _nested(value, home, source, owner)
    if isinstance(value, (list, tuple)):
        return [_value("", v, home, source, owner) for v in value]
    return value


def _nested(value: Any, home: Any, source: Any, owner: str) -> Any:
    """A layer, regularizer or constraint inside a layer's config."""
    kind, config = value["class_name"], value["config"]
    for part in ("regularizers", "constraints"):
        found = getattr(getattr(home, part), kind, None)
        if found is not None:
            return found(**config)
    there = __import__(source.__module__.split(".")[0])
    if not hasattr(there.layers, kind):
        raise _error(owner, f"holds something that {home.__name__} lacks", kind)
    return _rebuild(kind, config, home, getattr(there.layers, kind), owner)


def _arguments(cls: Any) -> dict[str, Any]:
    """Dict of a class's arguments with their defaults, those of its bases included."""
    found = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        arguments = inspect.signature(base.__init__).parameters.values()
        for argument in arguments:
            if argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL):
                found.setdefault(argument.name, argument.default)
        if not any(a.kind == a.VAR_KEYWORD for a in arguments):
            return found
        if base.__name__ == "Layer":
            break
    return {"name": None, "trainable": True, "activity_regularizer": None, **found}


def _may_be_left_out(key: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    """Whether a layer is the same without an argument that the other Keras lacks."""
    if key == "data_format":
        return value in (None, "channels_last")
    return value == defaults[key] if key in defaults else not value


def _renamed(kind: str, key: str, known: Iterable[str]) -> str:
    for (owner, ours), theirs in _ARGUMENTS.items():
        if owner == kind and key in (ours, theirs):
            return ours if ours in known else theirs
    return key


def _activation(
    value: Any, home: Any, owner: str, source: Any = None, unique: Any = None
) -> tuple[Any, Callable | None]:
    """An activation's name there, and a function that adds it where there is none.

    Args:
        value: The activation in a layer's config.
        home: Module that the layer goes to.
        owner: Name of the layer.
        source, unique: Its class, and a function that finds free names, where the
            activation may be added behind it.
    """
    if inspect.isfunction(value):
        return value, None
    if isinstance(value, dict) and source is not None:
        config = {**value["config"], "name": f"{owner}_activation"}
        value = {**value, "config": config}
        return None, lambda x: _nested(value, home, source, owner)(x)
    if not isinstance(value, dict):
        if value is None or value in _COMMON:
            return value, None
        for ours, theirs in _FUNCTIONS.items():
            if value in (ours, theirs):
                return (theirs if home.__name__ == "tf_keras" else ours), None
        added = _ADDED[home.__name__].get(value)
        if added is not None and source is not None:
            make = _Maker(home.layers, lambda kind: unique(f"{owner}_{kind.lower()}"))
            return None, lambda x: added(make, x)
    raise _error(owner, f"has an activation that {home.__name__} lacks", value)


class _Maker:
    """Makes named layers of a module: `make("ReLU", 6.0)(x)`."""

    def __init__(self, layers: Any, name: Callable[[str], str]) -> None:
        self._layers, self._name = layers, name

    def __call__(self, kind: str, *args: Any) -> Any:
        return getattr(self._layers, kind)(*args, name=self._name(kind))


def _hard_sigmoid(make: "_Maker", x: Any, slope: float) -> Any:
    return make("ReLU", 1.0)(make("Rescaling", slope, 0.5)(x))


#: Activations that the other Keras lacks, or has with other numbers, in its layers.
_ADDED = {
    "tf_keras": {
        "relu6": lambda make, x: make("ReLU", 6.0)(x),
        "leaky_relu": lambda make, x: make("LeakyReLU", 0.2)(x),
        "hard_sigmoid": lambda make, x: _hard_sigmoid(make, x, 1 / 6),
        "hard_silu": lambda make, x: make("Multiply")(
            [x, _hard_sigmoid(make, x, 1 / 6)]
        ),
    },
    "keras": {
        "hard_sigmoid": lambda make, x: _hard_sigmoid(make, x, 0.2),
    },
}


def _error(name: str, problem: str, received: Any) -> ValueError:
    return ValueError(
        f"Expected layers with a counterpart in the other Keras, but {name!r} "
        f"{problem}. Received: {received}"
    )
