"""Flattens a functional Keras model into one list of calls.

Nested models are inlined, so that whatever comes later sees one flat graph of
layers and operations in execution order.
"""

import collections
import dataclasses
import inspect

import keras
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.masks import given_masks, is_mask, name_masks


@dataclasses.dataclass(eq=False)
class Tensor:
    """A tensor of the traced graph.

    Attributes:
        shape: tuple, the shape with the batch dimension (`None` where unknown).
        dtype: string.
        name: string, the name of the Keras tensor it stands for.
        sizes: tuple, the shape for a batch of one sample, `None` where unknown; set
            when the graph is analyzed. Windows that are folded into the batch are
            counted in its first entry.
    """

    shape: tuple
    dtype: str
    name: str
    sizes: tuple = ()

    @property
    def sample_shape(self):
        """The shape without the batch dimension."""
        return tuple(self.shape[1:])


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a layer or operation.

    Attributes:
        operation: `keras.Operation`, usually a `keras.layers.Layer`.
        args: positional arguments; Keras tensors are replaced by `Tensor`s.
        kwargs: keyword arguments, likewise.
        outputs: list of `Tensor`s.
    """

    operation: keras.Operation
    args: tuple
    kwargs: dict
    outputs: list

    @property
    def inputs(self):
        """The tensors among the arguments, masks too, in order."""
        return _tensors((self.args, self.kwargs))

    @property
    def data(self):
        """The tensors among the arguments but for masks, in order."""
        named = {k: v for k, v in self.kwargs.items() if not is_mask(k)}
        return _tensors((self.args, named))

    @property
    def masks(self):
        """The tensors that serve as masks; always keyword arguments."""
        return _tensors({k: v for k, v in self.kwargs.items() if is_mask(k)})

    @property
    def is_layer(self):
        return isinstance(self.operation, keras.layers.Layer)


def _tensors(struct):
    return [x for x in tree.flatten(struct) if isinstance(x, Tensor)]


@dataclasses.dataclass(eq=False)
class Graph:
    """A flattened functional model.

    Attributes:
        inputs: the model's input structure with `Tensor`s at its leaves.
        outputs: the model's output structure, likewise.
        calls: list of `Call`s in execution order.
        name: string, the model's name.
    """

    inputs: object
    outputs: object
    calls: list
    name: str

    @property
    def layers(self):
        """The distinct layers, in order of their first call."""
        seen = {}
        for call in self.calls:
            if call.is_layer:
                seen.setdefault(id(call.operation), call.operation)
        return list(seen.values())

    def readers(self):
        """Dict, id of a tensor -> how many calls and model outputs read it."""
        read = [t for call in self.calls for t in call.inputs]
        return collections.Counter(id(t) for t in (*read, *tree.flatten(self.outputs)))


def check_model(model):
    """Raises a helpful `TypeError` or `ValueError` unless `model` can be traced."""
    if type(model).__module__.split(".")[0] == "tf_keras":
        raise TypeError(
            "Expected a Keras 3 model, but this one belongs to tf_keras (Keras 2). "
            "Carry it over with `tf_lossprune.deploy.from_tf_keras(model)`. "
            f"Received: {type(model).__module__}."
            f"{type(model).__name__}"
        )
    if not isinstance(model, keras.Model):
        raise TypeError(
            "Expected a built keras.Model (a file is read with "
            "`keras.models.load_model`). "
            f"Received: {model!r} (of type {type(model)})"
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise ValueError(
            "This Sequential model has no declared input, so its channels are not "
            "known yet. Add a `keras.Input(shape)` as its first entry or call "
            f"`model.build(input_shape)`. Received: {model.name!r}, unbuilt"
        )
    if functional_of(model) is None:
        raise TypeError(
            "Expected a functional or Sequential model: the graph of a subclassed "
            "model with a hand-written `call` cannot be read. Rebuild it with "
            "`keras.Model(inputs, outputs)` (the same layer objects can be used: "
            "`x = keras.Input(shape); keras.Model(x, layers(x))`). Received: "
            f"{type(model).__name__}"
        )


def functional_of(model):
    """Returns the `keras.Function` behind a model, or None if there is none."""
    if isinstance(model, keras.Sequential):
        return internals.functional_part(model)
    if not isinstance(model, keras.Function):
        return None
    # A functional model whose class overrides `call` does something else than
    # its graph says.
    for klass in type(model).__mro__:
        if "call" in vars(klass):
            return model if klass.__module__.startswith("keras.") else None
    return None


def trace(model):
    """Flattens a functional or Sequential model.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.

    Returns:
        A `Graph`.

    Raises:
        TypeError: if `model` is not a functional or Sequential Keras 3 model.
        ValueError: if `model` is a Sequential model without declared input.
    """
    check_model(model)
    function = functional_of(model)
    tensors = {}
    calls = []
    for tensor in tree.flatten(internals.input_structure(function)):
        tensors[id(tensor)] = _tensor(tensor)
    _walk(function, tensors, calls, {}, {})

    def lookup(struct):
        return tree.map_structure(lambda t: tensors[id(t)], struct)

    outputs = lookup(internals.output_structure(function))
    return Graph(
        inputs=lookup(internals.input_structure(function)),
        outputs=outputs,
        calls=_read_calls(calls, outputs),
        name=model.name,
    )


def _read_calls(calls, outputs):
    """The calls that the outputs need: nested models may have others."""
    read = {id(t) for t in tree.flatten(outputs)}
    found = []
    for call in reversed(calls):
        if any(id(t) in read for t in call.outputs):
            read.update(id(t) for t in call.inputs)
            found.append(call)
    return found[::-1]


def _tensor(keras_tensor):
    shape = tuple(keras_tensor.shape)
    return Tensor(shape, keras_tensor.dtype, keras_tensor.name)


def _walk(function, tensors, calls, extra, masks):
    """Appends the calls of `function`; `tensors` maps Keras tensor ids to `Tensor`s.

    Args:
        function: `keras.Function` to walk.
        tensors: dict, filled in with the outputs of each call.
        calls: list, extended.
        extra: dict of call arguments that a caller of a nested model passed on
            to its layers (`training=False` in transfer learning).
        masks: dict, id of a `Tensor` -> the mask that the caller of a nested model
            passed for it.
    """
    known = {id(t) for t in tree.flatten(internals.input_structure(function))}
    for node in internals.nodes_in_order(function):
        if node.is_input or all(id(t) in known for t in node.outputs):
            continue
        args, kwargs = node.arguments.convert(
            lambda x: tensors[id(x)] if isinstance(x, keras.KerasTensor) else x
        )
        args, kwargs = name_masks(node.operation, args, kwargs)
        args, kwargs = _positional(node.operation, args, kwargs)
        kwargs = {**kwargs, **given_masks(node.operation, args, kwargs, masks)}
        inner = (
            functional_of(node.operation)
            if isinstance(node.operation, keras.Model)
            else None
        )
        if inner is None:
            kwargs = {**_accepted(node.operation, extra), **kwargs}
            outputs = [_tensor(t) for t in node.outputs]
            calls.append(Call(node.operation, args, kwargs, outputs))
        else:
            outputs = _inline(inner, args, kwargs, calls, extra)
        for keras_tensor, tensor in zip(node.outputs, outputs):
            tensors[id(keras_tensor)] = tensor


def _inline(inner, args, kwargs, calls, extra):
    kwargs = dict(kwargs)
    training = kwargs.pop("training", extra.get("training"))
    their_masks = tree.flatten(kwargs.pop("mask", None))
    given = _tensors((args, kwargs))
    names = tree.flatten(internals.input_structure(inner))
    local = {id(k): t for k, t in zip(names, given)}
    masks = {id(t): m for t, m in zip(given, their_masks) if isinstance(m, Tensor)}
    extra = {} if training is None else {"training": training}
    _walk(inner, local, calls, extra, masks)
    return [local[id(t)] for t in tree.flatten(internals.output_structure(inner))]


def _positional(operation, args, kwargs):
    """The arguments of a call that named some tensors: `layer(inputs=x)`."""
    args, kwargs = list(args), dict(kwargs)
    for name in [*inspect.signature(operation.call).parameters][len(args) :]:
        if is_mask(name) or not _holds_tensors(kwargs.get(name)):
            break
        args.append(kwargs.pop(name))
    return tuple(args), kwargs


def _holds_tensors(struct):
    flat = tree.flatten(struct)
    return bool(flat) and all(isinstance(x, Tensor) for x in flat)


def _accepted(operation, extra):
    if extra and internals.takes_training(operation):
        return extra
    return {}
