"""Operations that are no layers, such as `x + 3`, in the other Keras."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tf_lossprune.graph import Call

#: Binary operations, by the name of the class in Keras 3.
_BINARY = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Divide": "truediv",
    "TrueDivide": "truediv",
    "Maximum": "maximum",
    "Minimum": "minimum",
}
#: Functions of one tensor that Keras 2 has as an activation.
_UNARY = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Silu": "swish",
    "Elu": "elu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Selu": "selu",
    "Exp": "exponential",
}

#: Functions of TensorFlow that stand in Keras 2 models, in Keras 3: those whose
#: arguments are tensors and numbers, in the same order,
_ELEMENTWISE = {
    "__operators__.add": ops.add,
    "math.abs": ops.abs,
    "math.add": ops.add,
    "math.exp": ops.exp,
    "math.maximum": ops.maximum,
    "math.minimum": ops.minimum,
    "math.multiply": ops.multiply,
    "math.negative": ops.negative,
    "math.pow": ops.power,
    "math.sigmoid": ops.sigmoid,
    "math.sqrt": ops.sqrt,
    "math.square": ops.square,
    "math.subtract": ops.subtract,
    "math.tanh": ops.tanh,
    "math.truediv": ops.divide,
    "nn.relu": ops.relu,
    "nn.relu6": ops.relu6,
    "nn.sigmoid": ops.sigmoid,
    "nn.silu": ops.silu,
}
#: and others, with TensorFlow's names of the arguments.
_OTHERS: dict[str, Callable] = {
    "__operators__.getitem": lambda x, key: x[_slices(key)],
    "compat.v1.transpose": lambda a, perm=None, conjugate=False: ops.transpose(a, perm),
    "concat": lambda values, axis: ops.concatenate(values, axis),
    "math.reduce_max": lambda input_tensor, axis=None, keepdims=False: ops.max(
        input_tensor, axis, keepdims
    ),
    "math.reduce_mean": lambda input_tensor, axis=None, keepdims=False: ops.mean(
        input_tensor, axis, keepdims
    ),
    "math.reduce_sum": lambda input_tensor, axis=None, keepdims=False: ops.sum(
        input_tensor, axis, keepdims
    ),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(logits, axis),
    "reshape": lambda tensor, shape: ops.reshape(tensor, shape),
}


def carry_operation(
    call: Call,
    args: tuple,
    kwargs: dict[str, Any],
    home: Any,
    unique: Callable[[str], str],
) -> Any:
    """Calls the counterpart of an operation in the other Keras.

    Args:
        call: `Call` of the operation.
        args, kwargs: Its arguments in the other Keras.
        home: Module `tf_keras` or `keras`, of the arguments.
        unique: Function from a name to one that is still free.

    Returns:
        The outputs.

    Raises:
        ValueError: If there is no counterpart; the message names the operation.
    """
    if home is keras:
        return _in_keras3(call.operation, args, kwargs)
    name = unique(call.operation.name)
    return _in_keras2(call.operation, args, home.layers, name)


def _in_keras3(layer: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    name = layer.get_config()["function"]
    kwargs = {k: v for k, v in kwargs.items() if k != "name"}
    if name in _ELEMENTWISE:
        return _ELEMENTWISE[name](*args, *kwargs.values())
    if name in _OTHERS:
        return _OTHERS[name](*args, **kwargs)
    raise _error(layer.name, f"tf.{name}", "Keras 3")


def _in_keras2(operation: Any, args: tuple, layers: Any, name: str) -> Any:
    import tensorflow as tf

    kind = type(operation).__name__
    if kind in _BINARY and len(args) == 2:
        tensors = [x for x in args if hasattr(x, "shape")]
        same_rank = len(tensors) == 2 and len({len(x.shape) for x in tensors}) == 1
        # The layers, which are known to quantisation, for what they can do.
        if same_rank and kind in ("Add", "Multiply", "Maximum", "Minimum"):
            return getattr(layers, kind)(name=name)(tensors)
        return getattr(tf.math, _BINARY[kind])(*args)
    if kind in _UNARY:
        return layers.Activation(_UNARY[kind], name=name)(*args)
    if kind in ("Relu", "Relu6"):
        return layers.ReLU(6.0 if kind == "Relu6" else None, name=name)(*args)
    if kind == "Softmax":
        return layers.Softmax(operation.axis, name=name)(*args)
    if kind == "GetItem":
        return args[0][args[1]]
    if kind == "Concatenate":
        return layers.Concatenate(operation.axis, name=name)(*args)
    if kind == "Reshape":
        return tf.reshape(args[0], operation.newshape)
    if kind == "Transpose":
        return tf.transpose(args[0], operation.axes)
    if kind in ("Mean", "Sum", "Max"):
        reduce = getattr(tf.math, f"reduce_{kind.lower()}")
        return reduce(args[0], operation.axis, operation.keepdims)
    raise _error(
        operation.name, kind, "Keras 2; use a layer instead, where there is one"
    )


def _slices(key: Any) -> tuple:
    """Slices from the dicts in which Keras 2 keeps them."""
    parts = key if isinstance(key, (list, tuple)) else (key,)
    return tuple(
        slice(part["start"], part["stop"], part["step"])
        if isinstance(part, dict)
        else part
        for part in parts
    )


def _error(name: str, kind: str, home: str) -> ValueError:
    return ValueError(
        f"Expected operations with a counterpart in {home}. Received: {name!r} ({kind})"
    )
