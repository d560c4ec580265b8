"""Calls a traced graph again, with other layers in place of the original ones."""

import keras
import numpy as np
from keras import tree

from tf_lossprune.graph.trace import Tensor


def _unbuilt(config):
    """A config without the input shapes that layers inside a layer were built for."""
    if isinstance(config, dict):
        return {k: _unbuilt(v) for k, v in config.items() if k != "build_config"}
    if isinstance(config, list):
        return [_unbuilt(v) for v in config]
    return config


class _Zeros(keras.initializers.Initializer):
    """Zeros that cost no computation on the backend."""

    def __call__(self, shape, dtype=None):
        return np.zeros(shape, dtype)


class Cloner:
    """Clones layers once each, under names that are unique in the new model.

    Args:
        draw_weights: bool, whether clones start from random weights. If not, they
            start from zeros, as their weights will be copied anyway: random numbers
            of every shape take most of the time that a large model needs. Call
            `restore` once the clones are built.
    """

    def __init__(self, draw_weights=True):
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

    def _clone(self, operation, overrides):
        config = {**_unbuilt(operation.get_config()), **overrides}
        if "name" in config:
            config["name"] = self.unique(operation.name)
        clone = operation.__class__.from_config(config)
        if not self._draw_weights:
            self._hold_back(clone)
        return clone

    def _hold_back(self, clone):
        for name, value in list(vars(clone).items()):
            if isinstance(value, keras.initializers.Initializer):
                self._initializers.append((clone, name, value))
                setattr(clone, name, _Zeros())

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


def make_inputs(graph, cloner):
    """Returns fresh `keras.Input`s with the graph's input structure."""
    return tree.map_structure(
        lambda t: keras.Input(
            batch_shape=t.shape, dtype=t.dtype, name=cloner.unique(t.name)
        ),
        graph.inputs,
    )


def replay(graph, inputs, call_fn):
    """Runs the graph on `inputs`.

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

    for call in graph.calls:
        outputs = call_fn(call, fill(call.args), fill(call.kwargs))
        for tensor, value in zip(call.outputs, tree.flatten(outputs), strict=True):
            values[id(tensor)] = value
            if isinstance(value, keras.KerasTensor):
                # Else Keras would make it an argument of the calls that follow, where
                # the graph has none and the mask at run time may be another.
                value._keras_mask = None
    return fill(graph.outputs)
