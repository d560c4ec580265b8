"""Compares what a call does in training with what it does in inference."""

import dataclasses

import keras
import numpy as np
from keras import tree

from tf_lossprune.graph.own_weight import ConstantTensor, WeightTensor
from tf_lossprune.graph.symbolic_call import CannotOpen

#: Layers that do nothing in inference.
ONLY_IN_TRAINING = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
)


def steps_of(body, twin):
    """The steps that a call consists of, in whatever mode it runs.

    Args:
        body: `Body` in training.
        twin: `Body` in inference; in the same mode, if it is only ever run in one.

    Returns:
        List of `Step`s, where `training` is no argument if it follows the outer mode.

    Raises:
        CannotOpen: if the two differ in more.
    """
    steps = _read(body)
    others = _read(twin)
    numbers, theirs = _numbers(body), _numbers(twin)
    merged, remaining = [], list(others)
    for one in steps:
        other = remaining[0] if remaining else None
        if other is not None and _same(one, other, numbers, theirs):
            remaining.pop(0)
            kwargs = dict(one.kwargs)
            if kwargs.get("training") is True and other.kwargs["training"] is False:
                del kwargs["training"]
            merged.append(dataclasses.replace(one, kwargs=kwargs, twin=other))
            for a, b in zip(one.outputs, other.outputs, strict=True):
                theirs.setdefault(id(b), numbers.setdefault(id(a), len(numbers)))
        elif type(one.operation) in ONLY_IN_TRAINING:
            kwargs = {k: v for k, v in one.kwargs.items() if k != "training"}
            merged.append(dataclasses.replace(one, kwargs=kwargs))
            numbers[id(one.outputs[0])] = _numbered(one.inputs[0], numbers)
        else:
            raise CannotOpen("in training it takes another path through its code")
    results = [
        _signature(body.result, found)
        for body, found in ((body, numbers), (twin, theirs))
    ]
    if remaining or results[0] != results[1]:
        raise CannotOpen("in training it takes another path through its code")
    return merged


def _read(body):
    """The steps that lead to the result."""
    needed = {id(t) for t in tree.flatten(body.result)}
    found = []
    for step in reversed(body.steps):
        if any(id(t) in needed for t in step.outputs):
            needed.update(id(t) for t in step.inputs)
            found.append(step)
        elif getattr(step.operation, "activity_regularizer", None) is not None:
            raise CannotOpen("it computes a loss with something that nobody reads")
    return found[::-1]


def _numbers(body):
    numbers = {}
    for t in body.inputs:
        numbers.setdefault(id(t), len(numbers))
    return numbers


def _numbered(tensor, numbers):
    if id(tensor) not in numbers:
        raise CannotOpen("it reads a tensor that it was not called with")
    return numbers[id(tensor)]


def _same(one, other, numbers, theirs):
    return _step_signature(one, numbers) == _step_signature(other, theirs)


def _step_signature(step, numbers):
    operation = step.operation
    named = {k: v for k, v in step.kwargs.items() if k != "training"}
    arguments = _signature((step.args, named), numbers)
    constant = step.kwargs.get("training") is not None
    if isinstance(operation, keras.layers.Layer):
        if operation.variables or step.body or step.reason:
            return id(operation), arguments, constant
        try:
            config = operation.get_config()
        except NotImplementedError:  # it was made from objects
            return id(operation), arguments, constant
        config = {k: v for k, v in config.items() if k != "name"}
        return type(operation), repr(config), arguments, constant
    config = {
        k: _signature(v, {})
        for k, v in vars(operation).items()
        if not k.startswith("_") and k != "name"
    }
    return type(operation), config, arguments, constant


def _signature(struct, numbers):
    """A structure as something that can be compared."""

    def leaf(x):
        if isinstance(x, WeightTensor):
            return "weight", id(x.variable)
        if isinstance(x, ConstantTensor):
            x = x.value
        elif isinstance(x, keras.KerasTensor):
            return _numbered(x, numbers)
        if hasattr(x, "shape") and hasattr(x, "dtype"):
            array = keras.ops.convert_to_numpy(x)
            return array.shape, str(array.dtype), np.ascontiguousarray(array).tobytes()
        return type(x).__name__, repr(x)

    return repr(tree.map_structure(leaf, struct))
