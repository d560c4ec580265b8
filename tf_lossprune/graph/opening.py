"""Opens layers and models of the user's own: their calls take their place.

A layer without a rule is called on symbolic tensors, in training and in inference.
Where both do the same, what was called stands in the graph instead of the layer,
sharing its weights; where not, this one layer stays as it is, with the reason.
"""

import dataclasses

import keras
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.both_modes import ONLY_IN_TRAINING, steps_of
from tf_lossprune.graph.call_inputs import as_integers, placeholders
from tf_lossprune.graph.effects import Assignment
from tf_lossprune.graph.fixed_mode import check_mode, fixed_mode
from tf_lossprune.graph.held_tensors import WalkWithWeights
from tf_lossprune.graph.own_bias import take_biases
from tf_lossprune.graph.own_weight import ConstantTensor
from tf_lossprune.graph.paths import attribute_paths, without_number
from tf_lossprune.graph.randomness import RandomDraw
from tf_lossprune.graph.rules import find_rule
from tf_lossprune.graph.sample_count import BROADCASTING, NUMBERS, ForEachSample
from tf_lossprune.graph.steps import CannotOpen
from tf_lossprune.graph.stock_composites import stock_call
from tf_lossprune.graph.symbolic_call import note_call
from tf_lossprune.graph.tracing import (
    Place,
    Tensor,
    check_model,
    functional_of,
    tensor_like,
)
from tf_lossprune.graph.training_only import passes_elements

#: Modules whose layers are known, or never worth looking into.
_CLOSED = {"keras", "tf_lossprune"}


def open_model(model, input_shape=None, closed=None):
    """Flattens any model, with layers and models of the user's own opened.

    Args:
        model: built `keras.Model`; not changed.
        input_shape: the shape of one sample, for a subclassed model that does not
            know it: a tuple, or a list or dict of them as the model takes them.
        closed: dict, id of a layer that is not to be opened -> why, or None.

    Returns:
        A `Graph`. Its `opened` and `closed` say what was opened and what was not.

    Raises:
        TypeError: if `model` is no Keras 3 model, or its `call` cannot be opened.
        ValueError: if the shapes that it takes are not known.
    """
    check_model(model, subclassed=True)
    closed = closed or {}
    if functional_of(model) is not None:
        return _Opening(closed).model(model)
    args = placeholders(model, input_shape)
    graph = _Opening(closed).subclassed(model, args)
    integers = as_integers(args, graph)
    return graph if integers is None else _Opening(closed).subclassed(model, integers)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A layer that was opened.

    Attributes:
        name: string, its path.
        kind: string, its class.
    """

    name: str
    kind: str


def composite_call(layer):
    """What to call so that a layer is looked into; None: it is not.

    It is of somebody's own, and no rule knows it.
    """
    if not isinstance(layer, keras.layers.Layer):
        return None
    if type(layer).__module__.split(".")[0] in _CLOSED:
        return stock_call(layer)
    if isinstance(layer, keras.Model) and functional_of(layer) is not None:
        return None
    quantized = getattr(layer, "quantization_mode", None) is not None
    return None if quantized or find_rule(layer) is not None else layer.call


class _Opening(WalkWithWeights):
    def __init__(self, refused):
        super().__init__()
        self._refused = refused
        self._results = []
        self._opened = {}
        self._closed = {}
        self._kept = []  # An id stands for an object only while that lives.

    def model(self, model):
        self._root = None
        return super().model(model)

    def function(self, function, tensors, place):
        if self._root is None:
            self._root = next(iter(tensors.values()))
        super().function(function, tensors, place)

    def graph(self, inputs, outputs, name):
        found = super().graph(inputs, outputs, name)
        found.names = self._names
        found.opened = list(self._opened.values())
        found.closed = {**self._closed, **self._refused}
        found.results = self._results
        take_biases(found, [*self._kernels.values()])
        return found

    def _call_of(self, layer):
        return None if id(layer) in self._refused else composite_call(layer)

    def subclassed(self, model, args):
        """The `Graph` of a model with a `call` of its own."""
        given = tree.map_structure(tensor_like, args)
        self._root = tree.flatten(given)[0]
        self._names[id(model)] = ""
        try:
            result = self._note(model, given, {}, Place())
            found = {**self._closed, **self._refused}
        except CannotOpen as error:
            result, found = None, {id(model): str(error)}
        else:
            if not all(isinstance(t, Tensor) for t in tree.flatten(result)):
                found = {id(model): "it returns something that is no tensor"}
        if id(model) in found:
            raise TypeError(
                "Expected a model that can be opened: its `call` is run on symbolic "
                f"tensors, but {found[id(model)]}. Fix that, or rebuild the model with "
                "`keras.Model(inputs, outputs)` (the same layer objects can be used: "
                "`x = keras.Input(shape); keras.Model(x, layers(x))`). Received: "
                f"{type(model).__name__}"
            )
        inputs = given[0] if len(given) == 1 else list(given)
        return self.graph(inputs, result, model.name)

    def leaf(self, operation, args, kwargs, outputs, place):
        self._path(operation, place, None)
        if self._call_of(operation) is not None:
            try:
                return tree.flatten(self._note(operation, args, kwargs, place))
            except CannotOpen as error:
                self._close(operation, args, str(error))
        return self._closed_leaf(operation, args, kwargs, outputs, place)

    def _closed_leaf(self, operation, args, kwargs, outputs, place):
        """The same without looking into it."""
        mode = fixed_mode(kwargs, place)
        if place.opened and mode is not None and internals.takes_training(operation):
            if not mode and type(operation) in ONLY_IN_TRAINING:
                return [args[0]]
            check_mode(operation, mode)
            kwargs = {k: v for k, v in kwargs.items() if k != "training"}
            place = dataclasses.replace(place, training=None)
        return super().leaf(operation, args, kwargs, outputs, place)

    def _note(self, layer, args, kwargs, place):
        """Calls a layer and appends what it does; returns the structure of outputs."""
        symbolic = {}

        def placeholder(x):
            if not isinstance(x, Tensor):
                return x
            if id(x) not in symbolic:
                made = keras.KerasTensor(x.shape, x.dtype, name=x.name)
                mask = place.attached.get(id(x))
                if mask is not None:
                    internals.attach_mask(made, internals.alias(mask))
                    self._masked[id(internals.mask_of(made))] = x
                symbolic[id(x)] = (made, x)
            return symbolic[id(x)][0]

        args, kwargs = tree.map_structure(placeholder, (args, kwargs))
        # Where a functional model calls it, the model's own mode counts.
        fixed = fixed_mode(kwargs, place) if place.opened else None
        modes = (True, False) if fixed is None else (bool(fixed), bool(fixed))
        weights = None
        while weights != len(layer.variables):  # else its first call has built it
            weights = len(layer.variables)
            one, twin = (
                note_call(layer, args, kwargs, mode, self._call_of, number)
                for mode, number in zip(modes, NUMBERS)
            )
        self._kept += [one, twin]
        tensors = {id(made): x for made, x in symbolic.values()}
        place = Place(path=place.path, opened=True)
        return self._body(one, twin, tensors, place, None)

    def _body(self, body, twin, tensors, place, paths):
        """Appends what a call does; returns its result with `Tensor`s."""
        steps, result = steps_of(body, twin)
        for step in steps:
            made = self._step(step, tensors, place, paths)
            for keras_tensor, tensor in zip(step.outputs, made, strict=True):
                tensors[id(keras_tensor)] = tensor
        return tree.map_structure(lambda t: self._tensor(t, tensors, place), result)

    def _step(self, step, tensors, place, paths):
        operation = step.operation
        path = self._path(operation, place, paths)
        before = len(self.calls), dict(self._names), dict(self._opened)
        try:
            for side in (step, step.twin or step):
                if side.reason:
                    raise CannotOpen(side.reason)
            if step.body is not None:
                self._opened[id(operation)] = Opened(path, type(operation).__name__)
                self._kept.append(operation)
                # A step that only one mode has is the same in this one.
                twin = (step.twin or step).body
                below = dataclasses.replace(place, path=f"{path}." if path else "")
                paths = attribute_paths(operation, below.path)
                made = tree.flatten(self._body(step.body, twin, tensors, below, paths))
                self._results.append((operation, made))
                return made
        except CannotOpen as error:
            del self.calls[before[0] :]
            self._names, self._opened = before[1:]
            self._close(operation, step.args, str(error))
        if isinstance(operation, Assignment):
            return self._change(step, tensors, place)
        made = self._product(step, tensors, place)
        if made is not None:
            return made
        ndim = None
        if type(operation).__name__ in BROADCASTING and not step.kwargs:
            ndim = max(len(getattr(x, "shape", ())) for x in step.args)
        if type(operation).__name__ == "ExpandDims" and operation.axis == 0:
            (given,) = step.args
            if id(tensors.get(id(given))) in self._in_front:
                return [tensors[id(given)]]
        args, kwargs = tree.map_structure(
            lambda x: (
                self._tensor(x, tensors, place, ndim)
                if isinstance(x, keras.KerasTensor)
                else x
            ),
            (step.args, step.kwargs),
        )
        if isinstance(operation, ForEachSample) or (
            isinstance(operation, RandomDraw) and not args
        ):
            args = (*args, self._root)
        if isinstance(operation, keras.Model) and functional_of(operation):
            place = dataclasses.replace(place, path=f"{path}.")
            return self.call(operation, args, kwargs, step.outputs, place)
        made = self._closed_leaf(operation, args, kwargs, step.outputs, place)
        if any(isinstance(x, ConstantTensor) and len(x.shape) == 1 for x in step.args):
            for tensor in made:
                tensor.shape = (1, *tensor.shape)
                self._in_front[id(tensor)] = tensor
        return made

    def _close(self, operation, args, reason):
        self._kept.append(operation)
        for x in args if len(args) == 1 and hasattr(args[0], "dtype") else ():
            if passes_elements(operation, x.shape, x.dtype, (len(x.shape) - 1,)):
                return
        self._closed[id(operation)] = reason

    def _path(self, operation, place, paths):
        """Names an operation by where it stands."""
        if id(operation) not in self._names and (place.path or paths is not None):
            local = (paths or {}).get(id(operation))
            if local is None:
                name = operation.name
                if paths is not None and not getattr(operation, "variables", ()):
                    name = without_number(name)
                local = f"{place.path}{name}"
            self._names[id(operation)] = local
            self._kept.append(operation)
        return self._names.get(id(operation), operation.name)
