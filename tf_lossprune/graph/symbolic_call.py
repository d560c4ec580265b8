"""Runs a layer's `call` on symbolic tensors and notes what it calls.

Nothing is left behind: no nodes on the layers, no changed variables. What cannot be
noted down (a variable's value that would be baked in, a changed state, an added loss)
ends the attempt with the reason.
"""

import contextlib
import dataclasses
import re
from typing import Any

import keras
import numpy as np
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.masks import is_mask
from tf_lossprune.graph.own_weight import WeightTensor


class CannotOpen(Exception):
    """Why a call cannot be taken apart."""


@dataclasses.dataclass(eq=False)
class Step:
    """One call that was noted.

    Attributes:
        operation: `keras.Operation`.
        args, kwargs: its arguments, with Keras tensors. For layers, `training` and
            masks are among them.
        outputs: list of Keras tensors.
        body: `Body` or None, what it calls in turn, where that was noted.
        reason: string or None, why it was not.
        twin: `Step` or None, the same call in inference.
    """

    operation: Any
    args: tuple
    kwargs: dict
    outputs: list
    body: "Body | None" = None
    reason: str | None = None
    twin: "Step | None" = None

    @property
    def inputs(self):
        return keras_tensors((self.args, self.kwargs))


@dataclasses.dataclass(eq=False)
class Body:
    """What a call does.

    Attributes:
        inputs: list of Keras tensors that it takes.
        steps: list of `Step`s.
        result: structure of Keras tensors that it returns.
    """

    inputs: list
    steps: list
    result: Any = None


def keras_tensors(struct):
    """The Keras tensors in a structure."""
    return [x for x in tree.flatten(struct) if isinstance(x, keras.KerasTensor)]


def note_call(layer, args, kwargs, training, is_composite):
    """Calls a layer on symbolic tensors.

    Args:
        layer: `keras.layers.Layer`.
        args, kwargs: its arguments, with Keras tensors.
        training: bool, the mode that its caller is in.
        is_composite: function `layer -> bool`, which ones to look into.

    Returns:
        A `Body` with the call, and with the casts of what it is called with.

    Raises:
        CannotOpen: if the layer cannot be called so.
    """
    noting = _Noting(is_composite)
    given = keras_tensors((args, kwargs))
    caller = _Caller(lambda: layer(*args, **kwargs))
    try:
        with noting.scope, internals.intercepted_calls(noting.layer, noting.node):
            result = caller(given, training=training)
    except Exception as error:
        raise CannotOpen(noting.scope.reason or _in_words(error)) from error
    return Body(given, noting.steps, result)


class _Noting:
    def __init__(self, is_composite):
        self.steps = []
        self.scope = _Scope()
        self._is_composite = is_composite
        self._muted = False
        self._answers = []
        self._weights = {}

    def layer(self, layer, args, kwargs):
        """What a layer's outputs are; the arguments are those that `call` gets."""
        if self._muted:
            return layer.compute_output_spec(*args, **kwargs)
        if isinstance(layer, _Caller):
            return layer.call(*args, **kwargs)
        body = reason = None
        if self._is_composite(layer):
            depth = len(self._answers)
            body = Body(keras_tensors((args, kwargs)), [])
            before, self.steps = self.steps, body.steps
            try:
                with self._weights_as_tensors(layer):
                    body.result = layer.call(*args, **kwargs)
                self._check(layer, body)
            except Exception as error:
                body, reason = None, self._reason(error)
            finally:
                self.steps, self.scope.reason = before, None
                del self._answers[depth:]
        self._answers.append((body, reason, args, kwargs))
        if body is None:
            return self._spec(layer, args, kwargs)
        # Tensors of its own, as a call may return what it was called with.
        return tree.map_structure(internals.alias, body.result)

    @contextlib.contextmanager
    def _weights_as_tensors(self, layer):
        """Puts symbolic tensors where a layer keeps the weights it owns."""
        changed = []
        for name, value in [*vars(layer).items()]:
            tracking = name.startswith(internals.OF_TENSORFLOW)
            if not tracking and name not in internals.LISTS_OF_WEIGHTS:
                _replace(vars(layer), name, value, name, layer, self._weight, changed)
        try:
            yield
        finally:
            for store, key, variable in changed:
                _set(store, key, variable)

    def _weight(self, layer, variable, name):
        if id(variable) not in self._weights:
            made = WeightTensor(layer, variable, name, self.scope.refuse)
            self._weights[id(variable)] = made
        return self._weights[id(variable)]

    def _spec(self, layer, args, kwargs):
        self._muted = self.scope.muted = True
        try:
            return layer.compute_output_spec(*args, **kwargs)
        finally:
            self._muted = self.scope.muted = False

    def node(self, operation, args, kwargs, outputs):
        if self._muted or isinstance(operation, _Caller):
            return
        body = reason = None
        kwargs = dict(kwargs)
        if isinstance(operation, keras.layers.Layer):
            body, reason, cast, given = self._answers.pop()
            kwargs.pop("training", None)
            if body or reason:
                args = cast
                kwargs.update({k: v for k, v in given.items() if k in kwargs})
            for name, value in given.items():
                mask = is_mask(name) and keras_tensors(value)
                if mask or (name == "training" and value is not None):
                    kwargs[name] = value
        outputs = tree.flatten(outputs)
        step = Step(operation, tuple(args), kwargs, outputs, body, reason)
        if not body:
            self._check_arguments(step)
        self.steps.append(step)

    def _reason(self, error):
        # Keras adds to the text of errors that pass it.
        return self.scope.reason or _in_words(error)

    def _check_arguments(self, step):
        """Refuses what a copy of the call would not carry over."""
        name = type(step.operation).__name__
        if _without_size(step.operation):
            self.scope.refuse(f"it hands an unknown size to an operation ({name})")
        for x in tree.flatten((step.args, step.kwargs)):
            if isinstance(x, keras.KerasTensor):
                continue
            if isinstance(x, keras.Variable) or hasattr(x, "assign"):
                self.scope.refuse(f"it hands a weight to an operation ({name})")
            if callable(x) and not isinstance(x, type):
                self.scope.refuse(f"it hands a function to an operation ({name})")

    def _check(self, layer, body):
        if layer.activity_regularizer is not None:
            raise CannotOpen("it has an activity regularizer")
        if self.scope.reason:
            reason, self.scope.reason = self.scope.reason, None
            raise CannotOpen(reason)
        if not all(keras_tensors([x]) for x in tree.flatten(body.result)):
            raise CannotOpen("it returns something that is no tensor of its inputs")


def _without_size(operation):
    """Whether an operation got a size that is only known when data are there."""
    if isinstance(operation, keras.layers.Layer):
        return False
    shapes = [v for v in vars(operation).values() if isinstance(v, (tuple, list))]
    return any(size is None for shape in shapes for size in shape)


def _in_words(error):
    if isinstance(error, CannotOpen):
        return str(error)
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    found = re.search(r"Error encountered:(.*?)(Arguments received|$)", text, re.S)
    text = " ".join((found[1] if found else text).split())
    text = re.sub(r"Exception encountered when calling \S+ ", "", text)[:160]
    return (
        "its call does not run on symbolic tensors "
        f"({type(error).__name__}{': ' if text else ''}{text})"
    )


def _replace(store, key, value, name, layer, function, changed):
    if isinstance(value, keras.Variable):
        _set(store, key, function(layer, value, name.lstrip("_")))
        changed.append((store, key, value))
    elif isinstance(value, (list, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for inner, item in [*items]:
            if not isinstance(item, (list, dict)):  # one level is enough
                path = f"{name}.{inner}"
                _replace(value, inner, item, path, layer, function, changed)


def _set(store, key, value):
    """Sets an entry without Keras noticing."""
    (list if isinstance(store, list) else dict).__setitem__(store, key, value)


class _Caller(keras.layers.Layer):
    """Sets the mode in which everything inside runs."""

    def __init__(self, function):
        super().__init__(name="caller", autocast=False)
        self._function = function
        self.built = True
        self._convert_input_args = False

    def call(self, tensors, training=None):
        return self._function()


class _Scope(keras.StatelessScope):
    """Refuses what happens behind the graph's back."""

    def __init__(self):
        super().__init__(collect_losses=True)
        self.muted = False
        self.reason = None  # kept, as a `try` in the call may catch the error

    def get_current_value(self, variable):
        if not self.muted:
            self.refuse(f"it computes with the value of {variable.path}")
        return super().get_current_value(variable)

    def add_update(self, update):
        self.refuse(f"it changes {update[0].path}")

    def add_loss(self, loss):
        self.refuse("it adds a loss")

    def refuse(self, reason):
        self.reason = self.reason or reason
        raise CannotOpen(reason)


# Comparing the call in training with that in inference.

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
        twin: `Body` in inference, or None: it is only ever run in one mode.

    Returns:
        List of `Step`s, where `training` is no argument if it follows the outer mode.

    Raises:
        CannotOpen: if the two differ in more.
    """
    steps = _read(body)
    if twin is None:
        _number(body, steps)
        return steps
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


def _number(body, steps):
    """Sees to it that all tensors come from the call's own inputs."""
    numbers = _numbers(body)
    for step in steps:
        _signature((step.args, step.kwargs), numbers)
        for t in step.outputs:
            numbers.setdefault(id(t), len(numbers))
    _signature(body.result, numbers)


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
        if isinstance(x, keras.KerasTensor):
            return _numbered(x, numbers)
        if hasattr(x, "shape") and hasattr(x, "dtype"):
            array = keras.ops.convert_to_numpy(x)
            return array.shape, str(array.dtype), np.ascontiguousarray(array).tobytes()
        return type(x).__name__, repr(x)

    return repr(tree.map_structure(leaf, struct))
