"""Carries functional models from Keras 3 to Keras 2 (tf_keras) and back.

A model is rebuilt call by call from its graph, as the configs of whole models differ
more than those of layers. Weights are copied, and both models are run on random input:
what comes out is compared.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.deploy.keras2 import carry_layer
from tf_lossprune.deploy.keras2_graph import read_keras2
from tf_lossprune.deploy.modes import in_float32
from tf_lossprune.deploy.operations import carry_operation
from tf_lossprune.differences import relative_error
from tf_lossprune.graph import Call, Graph, Tensor, replay, trace
from tf_lossprune.samples import sample

#: Largest difference of the outputs, relative to the largest output.
TOLERANCE = 1e-4
#: Of a dimension of the random input that a model leaves open.
_OPEN_SIZE = 16
#: Numbers behind a name from which on they are no longer Keras' own.
_MOST_NUMBERS = 10_000


def to_keras2(model: keras.Model, tf_keras: Any) -> Any:
    """The same model in Keras 2.

    Args:
        model: Built functional or Sequential Keras 3 model.
        tf_keras: The module.

    Returns:
        A functional `tf_keras.Model`, flat, with the same layer names and weights.

    Raises:
        TypeError, ValueError: As `to_tf_keras`.
    """
    with in_float32(model):
        return _carry(trace(model), tf_keras, {})


def from_tf_keras(
    model: Any, custom_layers: Mapping[type, Callable] | None = None
) -> keras.Model:
    """Carries a Keras 2 (tf_keras) model to Keras 3, with its weights.

    For models from before Keras 3 and from tensorflow-model-optimization, to prune
    their channels here. Nested models are flattened. Both models are run on random
    input, and their outputs compared.

    Args:
        model: Built functional or Sequential `tf_keras.Model` of stock layers; not
            changed. Wrappers of tensorflow-model-optimization have to be stripped
            first (`tfmot.sparsity.keras.strip_pruning`, `strip_clustering`).
        custom_layers: dict or None, for layers of your own: their Keras 2 class ->
            function `(layer) -> keras.layers.Layer`. Weights are copied afterwards,
            in the order of `layer.weights`.

    Returns:
        A functional `keras.Model`.

    Raises:
        TypeError: If `model` is not a functional or Sequential Keras 2 model, or
            `custom_layers` not a dict.
        ValueError: If a layer or operation has no counterpart in Keras 3 or computes
            something else there; the message names it.

    Example:

    ```python
    old = tf_keras.models.load_model("old.h5")
    model = tf_lossprune.deploy.from_tf_keras(old)
    pruned = tf_lossprune.prune_model(model, {"macs": 0.5})
    ```
    """
    if not isinstance(custom_layers or {}, dict):
        raise TypeError(
            "Expected custom_layers as a dict from class to function. "
            f"Received: {custom_layers!r}"
        )
    return _carry(read_keras2(model), keras, custom_layers or {})


def _carry(graph: Graph, home: Any, custom: Mapping[type, Callable]) -> Any:
    """Rebuilds a graph with layers of `home`, copies weights and compares."""
    unique = _Names().unique
    inputs = tree.map_structure(lambda t: _input(home, t, unique(t.name)), graph.inputs)
    names = {id(layer): unique(layer.name) for layer in graph.layers}
    if home is keras:
        _reserve(names.values())
    made: dict[int, tuple[Any, Callable | None]] = {}
    carried = {}

    def call_fn(call: Call, args: tuple, kwargs: dict[str, Any]) -> Any:
        layer = call.operation
        if not call.is_layer:
            return carry_operation(call, args, kwargs, home, unique)
        if id(layer) not in made:
            if type(layer) in custom:
                made[id(layer)] = custom[type(layer)](layer), None
            else:
                made[id(layer)] = carry_layer(layer, home, names[id(layer)], unique)
        new, finish = made[id(layer)]
        try:
            outputs = new(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected layers that {home.__name__} calls as it is done here, but "
                f"that failed ({error}). Received: {layer.name!r}"
            ) from error
        return outputs if finish is None else finish(outputs)

    def recorded(call: Call, args: tuple, kwargs: dict[str, Any]) -> Any:
        outputs = call_fn(call, args, kwargs)
        carried.update(zip(map(id, call.outputs), tree.flatten(outputs)))
        return outputs

    outputs = replay(graph, inputs, recorded)
    model = home.Model(inputs, outputs, name=graph.name)
    for layer in graph.layers:
        _copy_weights(layer, made[id(layer)][0])
    _check(graph, model, inputs, carried, home)
    return model


def _input(home: Any, tensor: Tensor, name: str) -> Any:
    if home is keras:
        return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
    batch, *sample = tensor.shape
    return home.Input(tuple(sample), batch, dtype=tensor.dtype, name=name)


class _Names:
    """Names without slashes, each of which is given once."""

    def __init__(self) -> None:
        self._taken = set()

    def unique(self, name: str) -> str:
        name = candidate = name.replace("/", "_")
        count = 0
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate


def _reserve(names: Iterable[str]) -> None:
    """Keeps Keras from giving these names to the operations that it makes.

    It numbers them by their kind (`add_1`), whatever names there are already, but a
    model may have each name only once.
    """
    for name in names:
        prefix, _, number = name.rpartition("_")
        if not (prefix and number.isdigit()):
            prefix, number = name, "0"
        if int(number) < _MOST_NUMBERS:
            while keras.backend.get_uid(prefix) <= int(number):
                pass


def _copy_weights(source: Any, target: Any) -> None:
    values = [np.asarray(value) for value in source.get_weights()]
    shapes = [tuple(value.shape) for value in values]
    expected = [tuple(w.shape) for w in target.weights]
    if shapes != expected:
        raise ValueError(
            f"Expected weights of layer {source.name!r} with the shapes {expected} in "
            f"the other Keras. Received: {shapes}"
        )
    target.set_weights(values)
    if type(source).__name__ == "Normalization":
        target.finalize_state()  # it computes with tensors made of its weights


def _check(
    graph: Graph, model: Any, inputs: Any, carried: dict[int, Any], home: Any
) -> None:
    """Compares the models on random input; names the first layer that differs."""
    x = sample(graph, size=_OPEN_SIZE)
    expected = {}

    def run(call: Call, args: tuple, kwargs: dict[str, Any]) -> Any:
        outputs = call.operation(*args, **{**kwargs, **_inference(call)})
        expected.update(zip(map(id, call.outputs), tree.flatten(outputs)))
        return outputs

    wanted = replay(graph, tree.map_structure(keras.ops.convert_to_tensor, x), run)
    actual = model(x, training=False)
    pairs = zip(tree.flatten(wanted), tree.flatten(actual), strict=True)
    if all(_error(a, b) <= TOLERANCE for a, b in pairs):
        return
    everything = home.Model(inputs, list(carried.values()))
    found = dict(zip(carried, tree.flatten(everything(x, training=False))))
    for call in graph.calls:
        for tensor in call.outputs:
            error = _error(expected[id(tensor)], found[id(tensor)])
            if not error <= TOLERANCE:
                raise ValueError(
                    "Expected layers that compute the same in the other Keras, but "
                    f"layer {call.operation.name!r} ({type(call.operation).__name__}) "
                    f"does not. Received: relative difference {error:.1e}"
                )
    raise ValueError(
        "Expected models that compute the same. Received: outputs that differ, though "
        "no single layer does by much; their sizes may grow from layer to layer"
    )


def _inference(call: Call) -> dict[str, bool]:
    flag = internals.takes_training(call.operation) or getattr(
        call.operation,
        "_expects_training_arg",
        False,  # Keras 2
    )
    return {"training": False} if call.is_layer and flag else {}


def _error(expected: Any, actual: Any) -> float:
    # Whole numbers may be of another type there.
    a, b = np.asarray(expected, "float64"), np.asarray(actual, "float64")
    return relative_error(a, b)
