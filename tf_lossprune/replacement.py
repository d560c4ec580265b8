"""Puts a compact network back into a model of a class with methods of its own."""

from typing import Any

import keras
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.tracing import functional_of


def with_network(model: keras.Model, network: keras.Model) -> Any:
    """Returns a model of the same class that uses another network.

    For functional models with methods and attributes of their own, such as the tasks of
    keras-hub: `predict` still preprocesses images and decodes the outputs.

    Args:
        model: functional model; not changed. Whatever is not part of its network (a
            preprocessor, a decoder of boxes) is shared with the new model; attributes
            that are (`backbone`) are None there.
        network: functional `keras.Model` that takes and returns the same, such as what
            `strip_pruning` returns. The new model shares its layers and weights.

    Returns:
        A model of the class of `model`, not compiled. To keep it, save `network`, and
        put that into a newly created task.

    Raises:
        TypeError: if either is not a functional model.
        ValueError: if their inputs or outputs differ.

    Example:

    ```python
    pruned = tf_lossprune.prune_model(task, {"macs": 0.5})
    ...
    small = tf_lossprune.with_network(task, tf_lossprune.strip_pruning(pruned))
    small.predict(images)
    ```
    """
    for given in (model, network):
        if not isinstance(given, keras.Function) or functional_of(given) is None:
            raise TypeError(
                "Expected functional models, whose `call` is Keras' own. "
                f"Received: {given!r} (of type {type(given).__name__})"
            )
    _check_structure("takes", *map(internals.input_structure, (model, network)))
    _check_structure("returns", *map(internals.output_structure, (model, network)))
    new = internals.blank(model)
    internals.functional_class(model).__init__(
        new,
        internals.input_structure(network),
        internals.output_structure(network),
        name=model.name,
    )
    dense, compact = _ids_of_network(model), _ids_of_network(new)
    left = internals.OF_TRAINING | internals.OF_THE_GRAPH | internals.NOT_COPIED
    for name, value in vars(model).items():
        if name in vars(new) or name in left or name.startswith(_ACCOUNT):
            continue
        if isinstance(value, set) and value & dense:
            value = compact  # a model's own account of its layers
        elif any(id(x) in dense for x in _parts(value)):
            value = None
        vars(new)[name] = value
    vars(new).update(internals.uncompiled())
    return new


def _ids_of_network(model):
    """The ids of the layers that a model's graph calls."""
    nodes = internals.nodes_in_order(model)
    layers = [n.operation for n in nodes if isinstance(n.operation, keras.layers.Layer)]
    return {id(la) for layer in layers for la in internals.all_layers(layer)}


_ACCOUNT = internals.OF_TENSORFLOW


def _parts(value):
    inside = value.values() if isinstance(value, dict) else value
    return [*inside] if isinstance(value, (dict, list, tuple)) else [value]


def _check_structure(verb, dense, compact):
    def shape(x):
        return tuple(x.shape), x.dtype

    expected, found = (tree.map_structure(shape, s) for s in (dense, compact))
    if expected != found:
        raise ValueError(
            f"Expected a network that {verb} what the model does: {expected}. "
            f"Received: {found}"
        )
