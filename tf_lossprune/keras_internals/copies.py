"""Copies of layers and variables."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from tf_lossprune.keras_internals.layers import all_layers

#: Attributes that a layer's copy does not take over.
NOT_COPIED = frozenset(
    ["_inbound_nodes", "_outbound_nodes", "_tracker", "build", "quantize"]
    + ["_losses", "_loss_ids", "_losses_override"]
)
#: What a functional model gets anew when its graph is made again.
OF_THE_GRAPH = frozenset(
    ["_inputs", "_outputs", "_inputs_struct", "_outputs_struct", "output_names"]
    + ["_nodes", "_nodes_by_depth", "_operations", "_operations_by_depth"]
    + ["_nnx_op_mapping"]
)
#: Traces of a model's own training.
OF_TRAINING = frozenset(
    ["optimizer", "train_function", "test_function", "predict_function"]
    + ["_compile_config", "_distribute_strategy"]
)


def blank(operation: Any) -> Any:
    """A new object of an operation's class, in no graph, without attributes."""
    kind: Any = type(operation)
    new: Any = kind.__new__(kind)  # which wraps the methods of layers
    if isinstance(operation, keras.Operation):
        new._inbound_nodes, new._outbound_nodes = [], []
    return new


def begin_tracking(layer: Any) -> None:
    """Gives a blank layer what keeps account of its variables and inner layers."""
    layer._initialize_tracker()


def forget_losses(layer: keras.Layer) -> None:
    """Gives a blank layer an empty account of its losses."""
    vars(layer).update(_losses=[], _loss_ids=set(), _losses_override=[])


def tracked(layer: Any) -> list[list]:
    """The lists of what a layer owns: variables, inner layers, seeds and so on."""
    tracker = getattr(layer, "_tracker", None)
    return [store for _, store in getattr(tracker, "config", {}).values()]


def tracker_of(layer: Any) -> Any:
    """The object that keeps these lists."""
    return layer._tracker


def copy_tracked(old: keras.Layer, new: keras.Layer, copy: Callable) -> Iterator[tuple]:
    """Fills the lists of what a layer owns with copies.

    Args:
        old: layer.
        new: its copy, of which tracking has begun.
        copy: function that copies a thing.

    Yields:
        Pairs of lists, the old one and the new one, each before it is filled.
    """
    before, after = old._tracker, new._tracker
    for name, (_, store) in before.config.items():
        target = after.config[name][1]
        yield store, target
        target[:] = [copy(v) for v in store]
        after.stored_ids[name] = {id(v) for v in target}
    after.locked = before.locked
    after._lock_violation_msg = before._lock_violation_msg


def uncompiled() -> dict[str, Any]:
    """The attributes by which a model knows its training, as before `compile`."""
    plain = vars(keras.layers.Layer())
    return {
        name: value
        for name, value in vars(keras.Model()).items()
        if name not in plain and name != "_compute_loss_has_training_arg"
    }


def copy_variable(
    variable: Any, value: Any, shape: tuple | None = None, dtype: str | None = None
) -> Any:
    """A variable like another one, with a value of its own.

    Args:
        variable: `keras.Variable`.
        value: array or tensor.
        shape: tuple or None, another shape.
        dtype: string or None, another type.
    """
    new = object.__new__(type(variable))
    vars(new).update((k, v) for k, v in vars(variable).items() if k != "_value")
    if shape is not None:
        new._shape = tuple(shape)
    if dtype is not None:
        new._dtype = dtype
    new._initialize(ops.convert_to_tensor(value, new._dtype))
    return new


def set_policy(layer: Any, dtype: str) -> None:
    """Sets the type that a built layer computes in, whatever its class forbids."""
    layer._dtype_policy = keras.dtype_policies.DTypePolicy(dtype)


def rename(old: keras.Operation, new: Any, name: str, variables: bool = True) -> None:
    """Gives a copy a name, which the paths of what it owns begin with.

    Args:
        old, new: layer and copy.
        name: string.
        variables: bool, whether the variables are the copy's own.
    """
    before = getattr(old, "_path", None) or old.name
    new.name = name
    if not isinstance(new, keras.Layer):
        return
    owned = new.variables if variables else []
    for x in [new, *all_layers(new, include_self=False), *owned]:
        path = x._path
        if path is not None and (path == before or path.startswith(f"{before}/")):
            x._path = name + path[len(before) :]
