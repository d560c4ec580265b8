"""Finds an opened layer that does not compute what its call computes on numbers."""

from typing import Any

import keras
from keras import ops, tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.differences import relative_error
from tf_lossprune.equivalence import tolerance_of
from tf_lossprune.graph import Graph, replay
from tf_lossprune.samples import sample


def unfaithful_layer(model: keras.Model, graph: Graph, call: Any) -> Any:
    """The first opened layer whose outputs differ, the innermost one; or None.

    Code may look at whether it runs on symbolic tensors, on which it was noted.

    Args:
        model: the user's `keras.Model`.
        graph: its `Graph`.
        call: function `(model, inputs)` that runs it in inference.
    """
    x = tree.map_structure(ops.convert_to_tensor, sample(graph))
    expected: dict[tuple, Any] = {}

    def note(layer, outputs):
        number = sum(key[0] == id(layer) for key in expected)
        expected[id(layer), number] = outputs

    with internals.told_outputs(note):
        call(model, x)
    values: dict[int, Any] = {}

    def compute(step, args, kwargs):
        if internals.takes_training(step.operation):
            kwargs = {**kwargs, "training": False}
        outputs = step.operation(*args, **kwargs)
        values.update(
            (id(t), y) for t, y in zip(step.outputs, tree.flatten(outputs), strict=True)
        )
        return outputs

    replay(graph, x, compute)
    seen: dict[int, int] = {}
    for layer, tensors in graph.results:
        number = seen[id(layer)] = seen.get(id(layer), -1) + 1
        outputs = tree.flatten(expected.get((id(layer), number)))
        if len(outputs) != len(tensors) or not all(id(t) in values for t in tensors):
            continue
        found = [values[id(t)] for t in tensors]
        if relative_error(outputs, found) > tolerance_of(graph):
            return layer
    return None
