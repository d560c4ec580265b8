"""Reads the graph of a functional Keras 2 (tf_keras) model, without importing it."""

from collections.abc import Callable, Mapping
from typing import Any

from tf_lossprune.graph import Call, Graph, Tensor


def read_keras2(model: Any) -> Graph:
    """Flattens a functional or Sequential Keras 2 model into calls, as `trace` does.

    Args:
        model: Built functional or Sequential `tf_keras.Model`.

    Returns:
        A `Graph` whose operations are Keras 2 layers.

    Raises:
        TypeError: If it is not such a model.
        ValueError: If layers of tensorflow-model-optimization wrap its own.
    """
    _check_model(model)
    tensors, calls = {}, []
    inputs = _map(_plain(model, "inputs"), lambda t: _add(tensors, t, input_name(t)))
    _walk(model, tensors, calls, {})
    outputs = _map(_plain(model, "outputs"), lambda t: tensors[id(t)])
    return Graph(inputs, outputs, calls, model.name)


class Keras2Call(Call):
    """A call of a Keras 2 layer.

    What Keras 2 makes of a function of TensorFlow (`x + 3`) is a layer there, but
    counts as an operation here.
    """

    @property
    def is_layer(self) -> bool:
        return not type(self.operation).__name__.endswith("OpLambda")


def input_name(tensor: Any) -> str:
    """Name of the input that a symbolic tensor of Keras 2 stands for."""
    return tensor.node.layer.name


def _check_model(model: Any) -> None:
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if type(model).__module__.split(".")[0] == "keras":
        raise TypeError(f"This model belongs to Keras 3 already. Received: {kind}")
    if not any(b.__module__.startswith("tf_keras.") for b in type(model).__mro__):
        raise TypeError(f"Expected a Keras 2 `tf_keras.Model`. Received: {kind}")
    if not getattr(model, "_is_graph_network", False):
        raise TypeError(
            "Expected a functional model, or a Sequential one with an Input: "
            f"others cannot be read. Received: {kind}"
        )


def _plain(model: Any, side: str) -> Any:
    """The model's inputs or outputs with its structure, as plain containers."""
    nested = getattr(model, f"_nested_{side}", None)
    return getattr(model, side) if nested is None else nested


def _map(struct: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(struct, dict):
        return {key: _map(value, function) for key, value in struct.items()}
    if isinstance(struct, (list, tuple)):
        parts = [_map(value, function) for value in struct]
        return tuple(parts) if isinstance(struct, tuple) else parts
    return function(struct)


def _flat(struct: Any) -> list:
    found = []
    _map(struct, found.append)
    return found


def _is_tensor(x: Any) -> bool:
    return type(x).__name__ == "KerasTensor" or hasattr(x, "_keras_history")


def _add(
    tensors: dict[int, Tensor], keras_tensor: Any, name: str | None = None
) -> Tensor:
    shape = tuple(keras_tensor.shape)
    dtype = keras_tensor.dtype.name
    tensor = Tensor(shape, dtype, name or keras_tensor.name)
    return tensors.setdefault(id(keras_tensor), tensor)


def _walk(
    model: Any, tensors: dict[int, Tensor], calls: list, extra: Mapping[str, Any]
) -> None:
    """Appends a model's calls; nested models are walked in their place.

    Args:
        model: Keras 2 model.
        tensors: dict, id of a symbolic tensor -> `Tensor`; filled in.
        calls: list, extended.
        extra: dict of what a caller of a nested model passed on (`training`).
    """

    def known(x: Any) -> Any:
        return tensors[id(x)] if _is_tensor(x) else x

    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            outputs = _flat(node.outputs)
            if node.is_input or all(id(t) in tensors for t in outputs):
                continue
            args = tuple(_map(value, known) for value in node.call_args)
            kwargs = {
                key: _map(value, known)
                for key, value in node.call_kwargs.items()
                if value is not None
            }
            layer = node.layer
            if hasattr(layer, "_nodes_by_depth"):
                given = [t for t in _flat((args, kwargs)) if isinstance(t, Tensor)]
                local = dict(zip((id(t) for t in _flat(layer.inputs)), given))
                training = kwargs.get("training", extra.get("training"))
                inner = {} if training is None else {"training": training}
                _walk(layer, local, calls, inner)
                for outer, t in zip(outputs, _flat(layer.outputs)):
                    tensors[id(outer)] = local[id(t)]
                continue
            _check_layer(layer)
            if getattr(layer, "_expects_training_arg", False):
                kwargs = {**extra, **kwargs}
            made = [_add(tensors, t) for t in outputs]
            calls.append(Keras2Call(layer, args, kwargs, made))


def _check_layer(layer: Any) -> None:
    if type(layer).__module__.startswith("tensorflow_model_optimization"):
        raise ValueError(
            "Wrappers of tensorflow-model-optimization have to be removed first "
            f"(`strip_pruning`, `strip_clustering`). Received: {layer.name!r} "
            f"({type(layer).__name__})"
        )
