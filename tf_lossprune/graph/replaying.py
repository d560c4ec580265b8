"""Calls a traced graph again, with other layers in place of the original ones."""

import collections

import keras
import numpy as np
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.copying import Copier
from tf_lossprune.graph.live_config import (
    from_live_config,
    set_entries,
    with_plain_numbers,
)
from tf_lossprune.graph.tracing import Tensor


class _Zeros(keras.initializers.Initializer):
    """Zeros that cost no computation on the backend."""

    def __call__(self, shape, dtype=None):
        return np.zeros(shape, dtype)


class Cloner:
    """Copies and clones layers once each, under names unique in the new model.

    A copy (`copy`) is the live layer once more, with its weights; a clone (a call) is
    made from the layer's config, for other widths.

    Args:
        layers: list, the layers of the model; see `Copier`.
        draw_weights: bool, whether clones start from random weights. If not, they
            start from zeros, as their weights will be copied anyway: random numbers
            of every shape take most of the time that a large model needs. Call
            `restore` once the clones are built.
        dtype: string or None, the floating type of copies; None: as it is.
        names: dict, id of an operation -> what its copy is called; else as it is.
        share: bool, whether copies read the variables of the originals.
    """

    def __init__(
        self, layers=(), draw_weights=True, dtype=None, names=None, share=False
    ):
        self._copier = Copier(layers, dtype, share)
        self._wanted = names or {}
        self._clones = {}
        self._names = set()
        self._draw_weights = draw_weights
        self._initializers = []

    def __call__(self, operation, **config):
        """Returns the clone of `operation`, made on the first request.

        Args:
            operation: `keras.Operation`.
            **config: entries of its config to override.

        Returns:
            A `keras.Operation` without weights of its own yet.
        """
        if id(operation) not in self._clones:
            self._clones[id(operation)] = self._clone(operation, config)
        return self._clones[id(operation)]

    def copy(self, operation):
        """Returns the live copy of `operation`, made on the first request."""
        if id(operation) not in self._clones:
            name = self._wanted.get(id(operation), operation.name)
            copy = with_plain_numbers(operation)
            if copy is None:
                copy = self._copier(operation, self.unique(name))
            else:
                copy.name = self.unique(name)
            if isinstance(copy, keras.Layer):
                # A file gives `build` a list for a shape, which some layers do not
                # take. Without it, the model's graph builds them when it is read.
                internals.forget_build_shapes(copy)
            self._clones[id(operation)] = copy
        return self._clones[id(operation)]

    def arguments(self, struct):
        """Arguments of a call with the model's variables replaced by their copies."""
        return self._copier.arguments(struct)

    def _clone(self, operation, overrides):
        clone = from_live_config(operation, overrides)
        clone.name = self.unique(operation.name)
        if not self._draw_weights:
            self._hold_back(clone)
        return clone

    def narrowed(self, operation, values, config):
        """A copy with smaller weights, for layers that no config makes again.

        Args:
            operation: layer.
            values: dict, id of a variable -> its new value.
            config: dict, attributes to replace.

        Raises:
            AttributeError: if the layer does not have one of these attributes.
        """
        self._copier.replace(values)
        copy = self.copy(operation)
        set_entries(copy, config)
        copy.input_spec = None  # it knows the widths of before
        return copy

    def _hold_back(self, clone):
        for name, value in list(vars(clone).items()):
            if isinstance(value, keras.initializers.Initializer):
                self._initializers.append((clone, name, value))
                setattr(clone, name, _Zeros())

    def forget(self, operation):
        """Lets `operation` be copied anew, under its name."""
        clone = self._clones.pop(id(operation), None)
        if clone is not None:
            self._names.discard(clone.name)

    def restore(self):
        """Gives the clones their initializers back."""
        for clone, name, value in self._initializers:
            setattr(clone, name, value)
        self._initializers = []

    def unique(self, name):
        """Returns `name`, with a number behind it where it is taken already."""
        candidate, count = name, 1
        while candidate in self._names:
            candidate, count = f"{name}_{count}", count + 1
        self._names.add(candidate)
        return candidate


def make_inputs(graph, cloner, dtype=None):
    """Returns fresh `keras.Input`s with the graph's input structure.

    Args:
        graph: `Graph`.
        cloner: `Cloner`; gives the names.
        dtype: string or None, the type of floating inputs; None: their own.
    """

    def make(tensor):
        floating = dtype and keras.backend.is_float_dtype(tensor.dtype)
        return keras.Input(
            batch_shape=tensor.shape,
            dtype=dtype if floating else tensor.dtype,
            name=cloner.unique(tensor.name),
        )

    return tree.map_structure(make, graph.inputs)


def replay(graph, inputs, call_fn):
    """Runs the graph on `inputs`, and holds no value longer than it is read.

    Args:
        graph: `Graph`.
        inputs: structure like `graph.inputs`, of tensors (symbolic or not).
        call_fn: function `(call, args, kwargs) -> outputs`, where args and
            kwargs hold real tensors.

    Returns:
        A structure like `graph.outputs`.
    """
    values = {
        id(t): x
        for t, x in zip(tree.flatten(graph.inputs), tree.flatten(inputs), strict=True)
    }

    def fill(struct):
        return tree.map_structure(
            lambda x: values[id(x)] if isinstance(x, Tensor) else x, struct
        )

    given = [t for call in graph.calls for t in call.inputs]
    left = collections.Counter(map(id, [*given, *tree.flatten(graph.outputs)]))
    for call in graph.calls:
        outputs = call_fn(call, fill(call.args), fill(call.kwargs))
        for tensor in call.inputs:
            left[id(tensor)] -= 1
            if not left[id(tensor)]:
                del values[id(tensor)]
        for tensor, value in zip(call.outputs, tree.flatten(outputs), strict=True):
            values[id(tensor)] = value
            if isinstance(value, keras.KerasTensor):
                # Else Keras would make it an argument of the calls that follow, where
                # the graph has none and the mask at run time may be another.
                internals.forget_mask(value)
    return fill(graph.outputs)
