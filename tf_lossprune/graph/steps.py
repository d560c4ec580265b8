"""What is noted of a call: what it calls in turn."""

import dataclasses
from typing import Any

import keras
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.effects import Effects


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
        inputs: list of Keras tensors that it takes, and of the masks at them.
        steps: list of `Step`s.
        result: structure of Keras tensors that it returns.
        effects: `Effects`, what it does besides.
    """

    inputs: list
    steps: list
    result: Any = None
    effects: Effects = dataclasses.field(default_factory=Effects)


def keras_tensors(struct):
    """The Keras tensors in a structure."""
    return [x for x in tree.flatten(struct) if isinstance(x, keras.KerasTensor)]


def with_masks(tensors):
    """Keras tensors and the masks that are attached to them."""
    masks = [internals.mask_of(t) for t in tensors]
    return [*tensors, *(m for m in masks if isinstance(m, keras.KerasTensor))]
