"""Compares what a call does in training with what it does in inference."""

import dataclasses

import keras
import numpy as np
from keras import tree

from tf_lossprune.graph.effects import is_effect
from tf_lossprune.graph.own_weight import ConstantTensor, WeightTensor
from tf_lossprune.graph.randomness import InTraining, RandomDraw
from tf_lossprune.graph.steps import CannotOpen, Step

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
    """What a call consists of, in whatever mode it runs.

    Args:
        body: `Body` in training.
        twin: `Body` in inference; in the same mode, if it is only ever run in one.

    Returns:
        List of `Step`s, where `training` is no argument if it follows the outer mode,
        and the structure of their results.

    Raises:
        CannotOpen: if the two differ in more than operations on tensors.
    """
    merge, steps = _Merge(body, twin), _read(body)
    changes = any(is_effect(step.operation) for step in steps)
    passes = all(map(_is_dropout, steps)) or changes
    if merge.is_identity_in_inference() and not passes:
        raise CannotOpen("it does nothing in inference")
    for step in steps:
        merge.add(step)
    return merge.steps_to(body.result, twin.result)


_ANOTHER_PATH = "in training it takes another path through its code"
_RANDOM_INFERENCE = "it draws random numbers in inference"


class _Merge:
    """The steps of a call in training beside those in inference.

    Attributes:
        steps: list of `Step`s that hold for both.
    """

    def __init__(self, body, twin):
        self.steps = []
        self._remaining = _read(twin)
        self._numbers, self._theirs = _numbers(body), _numbers(twin)
        self._tensors = {self._numbers[id(t)]: t for t in body.inputs}
        self._chosen = {}  # id of a tensor in training -> what stands for both modes

    def add(self, step):
        """Takes the next step in training."""
        step = self._with_chosen(step)
        other = self._remaining[0] if self._remaining else None
        if other is not None and self._meets(step, other):
            self._keep(step, other)
        elif _is_dropout(step):
            kwargs = {k: v for k, v in step.kwargs.items() if k != "training"}
            self.steps.append(dataclasses.replace(step, kwargs=kwargs))
            number = _numbered(step.inputs[0], self._numbers)
            self._numbers[id(step.outputs[0])] = number
        elif is_effect(step.operation):
            step.operation.only_in_training = True
            self.steps.append(step)
            (made,) = step.outputs
            self._numbers[id(made)] = _numbered(step.inputs[0], self._numbers)
        elif _may_differ(step):
            self.steps.append(step)
            for t in step.outputs:
                self._numbers[id(t)] = "in training", len(self._numbers)
        else:
            raise CannotOpen(_ANOTHER_PATH)

    def is_identity_in_inference(self):
        return not self._remaining

    def steps_to(self, result, other):
        """All steps, with a choice of the mode where the results differ."""
        for step in self._remaining:
            drawing = isinstance(step.operation, RandomDraw)
            raise CannotOpen(_RANDOM_INFERENCE if drawing else _ANOTHER_PATH)
        try:
            tree.map_structure(self._choose, result, other)
        except (ValueError, TypeError) as error:  # they are built otherwise
            raise CannotOpen(_ANOTHER_PATH) from error
        result = tree.map_structure(self._standing, result)
        found = [
            _signature(struct, numbers)
            for struct, numbers in ((result, self._numbers), (other, self._theirs))
        ]
        if found[0] != found[1]:
            raise CannotOpen(_ANOTHER_PATH)
        return self.steps, result

    def _keep(self, step, other):
        """Appends a step that is the same in both modes."""
        self._remaining.pop(0)
        step = self._with_chosen(step)
        kwargs = dict(step.kwargs)
        if kwargs.get("training") is True and other.kwargs["training"] is False:
            del kwargs["training"]
        self.steps.append(dataclasses.replace(step, kwargs=kwargs, twin=other))
        for a, b in zip(step.outputs, other.outputs, strict=True):
            number = self._numbers.setdefault(id(a), len(self._numbers))
            self._tensors.setdefault(number, a)
            self._theirs.setdefault(id(b), number)

    def _meets(self, step, other):
        """Whether both steps are the same, if need be with a choice before them."""
        if _same(step, other, self._numbers, self._theirs):
            return True
        if type(step.operation) is not type(other.operation):
            return False
        before = dict(self._numbers), dict(self._chosen), len(self.steps)
        try:
            tree.map_structure(self._choose, step.args, other.args)
        except (ValueError, TypeError):  # they are built otherwise
            return False
        if _same(self._with_chosen(step), other, self._numbers, self._theirs):
            return True
        self._numbers, self._chosen = before[0], before[1]
        del self.steps[before[2] :]
        return False

    def _choose(self, one, other):
        """Lets the mode choose between what is computed in training and its twin.

        That is right in both modes, whichever twin is taken.
        """
        tensors = isinstance(one, keras.KerasTensor) and hasattr(other, "dtype")
        if not tensors or id(one) in self._chosen:
            return
        number = self._theirs.get(id(other))
        mine = self._numbers.get(id(one))
        alike = (one.shape, one.dtype) == (other.shape, other.dtype)
        if not isinstance(mine, tuple) or number not in self._tensors or not alike:
            return
        made = keras.KerasTensor(one.shape, one.dtype)
        inputs = (self._tensors[number], one)
        self.steps.append(Step(InTraining(), inputs, {}, [made]))
        self._numbers[id(made)] = number
        self._chosen[id(one)] = made

    def _with_chosen(self, step):
        args, kwargs = tree.map_structure(self._standing, (step.args, step.kwargs))
        return dataclasses.replace(step, args=args, kwargs=kwargs)

    def _standing(self, x):
        return self._chosen.get(id(x), x)


def _is_dropout(step):
    return type(step.operation) in ONLY_IN_TRAINING


def _may_differ(step):
    """Whether a step has nothing to lose if the other mode goes without it."""
    operation = step.operation
    if step.body is not None:
        return all(map(_may_differ, step.body.steps))
    return isinstance(operation, RandomDraw) or not isinstance(
        operation, keras.layers.Layer
    )


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
        elif step.body is not None and step.body.effects.operations():
            raise CannotOpen(
                "it adds a loss or changes a weight in a call whose result nobody reads"
            )
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
