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
            counted in the batch's entry.
        batch_axis: int, where the batch dimension is; None: there is none. Set when
            the graph is analyzed.
    """

    shape: tuple
    dtype: str
    name: str
    sizes: tuple = ()
    batch_axis: int | None = 0

    @property
    def sample_shape(self):
        """The shape without the batch dimension."""
        return tuple(d for i, d in enumerate(self.shape) if i != self.batch_axis)


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
        names: dict, id of an operation -> name, for those found inside opened layers.
        opened: list of `Opened` layers.
        closed: dict, id of a layer that could not be opened -> why.
        results: list of `(layer, [Tensor])`: what each call of an opened layer returns,
            inner ones first.
    """

    inputs: object
    outputs: object
    calls: list
    name: str
    names: dict = dataclasses.field(default_factory=dict)
    opened: list = dataclasses.field(default_factory=list)
    closed: dict = dataclasses.field(default_factory=dict)
    results: list = dataclasses.field(default_factory=list)

    def name_of(self, operation):
        """What an operation is called: its path if it was found in an opened layer."""
        return self.names.get(id(operation), operation.name)

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


def check_model(model, subclassed=False):
    """Raises a helpful `TypeError` or `ValueError` unless `model` can be traced.

    Args:
        model: anything.
        subclassed: bool, whether it may have a `call` of its own.
    """
    if type(model).__module__.split(".")[0] == "tf_keras":
        raise TypeError(
            "Expected a Keras 3 model, but this one belongs to tf_keras (Keras 2). "
            "Convert it with `tf_lossprune.deploy.from_tf_keras(model)`. Received: "
            f"{type(model).__module__}.{type(model).__name__}"
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
    if functional_of(model) is None and not subclassed:
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
    return Walk().model(model)


def read_calls(calls, outputs):
    """The calls that the outputs need: nested models may have others."""
    read = {id(t) for t in tree.flatten(outputs)}
    found = []
    for call in reversed(calls):
        if any(id(t) in read for t in call.outputs):
            read.update(id(t) for t in call.inputs)
            found.append(call)
    return found[::-1]


def tensor_like(keras_tensor):
    """The `Tensor` that stands for a Keras tensor."""
    return Tensor(tuple(keras_tensor.shape), keras_tensor.dtype, keras_tensor.name)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a call stands.

    Attributes:
        training: bool or None, what a caller of a nested model passed on to its
            layers (`training=False` in transfer learning).
        masks: dict, id of a `Tensor` -> the mask that the caller of a nested model
            passed for it.
        path: string, the names of the opened layers around it.
        attached: dict, id of a `Tensor` that the call takes -> the symbolic mask that
            Keras has attached to it.
        opened: bool, whether it stands in an opened layer.
        in_graph: bool, whether it stands in the graph of a functional model, which
            passes its mode on, whatever its layers were told.
    """

    training: bool | None = None
    masks: dict = dataclasses.field(default_factory=dict)
    path: str = ""
    attached: dict = dataclasses.field(default_factory=dict)
    opened: bool = False
    in_graph: bool = False


class Walk:
    """Follows the graph of a model and of the models in it.

    Attributes:
        calls: list of `Call`s in execution order.
    """

    def __init__(self):
        self.calls = []

    def model(self, model):
        """The `Graph` of a functional or Sequential model."""
        function = functional_of(model)
        tensors = {}
        for tensor in tree.flatten(internals.input_structure(function)):
            tensors[id(tensor)] = tensor_like(tensor)
        self.function(function, tensors, Place())

        def lookup(struct):
            return tree.map_structure(lambda t: tensors[id(t)], struct)

        return self.graph(
            lookup(internals.input_structure(function)),
            lookup(internals.output_structure(function)),
            model.name,
        )

    def graph(self, inputs, outputs, name):
        """The `Graph` of what has been followed."""
        return Graph(inputs, outputs, read_calls(self.calls, outputs), name)

    def function(self, function, tensors, place):
        """Appends the calls of a graph.

        Args:
            function: `keras.Function` to follow.
            tensors: dict, id of a Keras tensor -> `Tensor`; has the inputs, gets the
                outputs of each call.
            place: `Place`.
        """
        known = {id(t) for t in tree.flatten(internals.input_structure(function))}
        for node in internals.nodes_in_order(function):
            if node.is_input or all(id(t) in known for t in node.outputs):
                continue
            args, kwargs = node.arguments.convert(
                lambda x: tensors[id(x)] if isinstance(x, keras.KerasTensor) else x
            )
            masks = {
                id(tensors[id(t)]): internals.mask_of(t) for t in node.input_tensors
            }
            attached = {k: m for k, m in masks.items() if m is not None}
            outputs = self.call(
                node.operation,
                args,
                kwargs,
                node.outputs,
                dataclasses.replace(place, attached=attached, in_graph=True),
            )
            for keras_tensor, tensor in zip(node.outputs, outputs):
                tensors[id(keras_tensor)] = tensor

    def call(self, operation, args, kwargs, outputs, place):
        """Appends what one call does.

        Args:
            operation: `keras.Operation`.
            args, kwargs: its arguments, with `Tensor`s.
            outputs: list of the Keras tensors that come out.
            place: `Place`.

        Returns:
            List of `Tensor`s.
        """
        args, kwargs = name_masks(operation, args, kwargs)
        args, kwargs = _positional(operation, args, kwargs)
        kwargs = {**kwargs, **given_masks(operation, args, kwargs, place.masks)}
        inner = functional_of(operation) if isinstance(operation, keras.Model) else None
        if inner is not None:
            return self._inline(inner, args, kwargs, place)
        return self.leaf(operation, args, kwargs, outputs, place)

    def leaf(self, operation, args, kwargs, outputs, place):
        """The same for what is no functional model."""
        if place.training is not None and internals.takes_training(operation):
            kwargs = {"training": place.training, **kwargs}
        if internals.requires_training(operation):
            kwargs = {"training": None, **kwargs}  # the mode that the model runs in
        made = [tensor_like(t) for t in outputs]
        self.calls.append(Call(operation, args, kwargs, made))
        return made

    def _inline(self, inner, args, kwargs, place):
        kwargs = dict(kwargs)
        training = kwargs.pop("training", place.training)
        their_masks = tree.flatten(kwargs.pop("mask", None))
        given = _tensors((args, kwargs))
        names = tree.flatten(internals.input_structure(inner))
        local = {id(k): t for k, t in zip(names, given)}
        masks = {id(t): m for t, m in zip(given, their_masks) if isinstance(m, Tensor)}
        place = dataclasses.replace(place, training=training, masks=masks)
        self.function(inner, local, place)
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
