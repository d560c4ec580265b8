"""All that the package takes from Keras without Keras promising it.

Private attributes, and names of classes that are exported under no other. Each function
has a contract in `tests/test_keras_internals.py`: where a new Keras breaks one, that
test says which, and only this file changes. What a missing name would only make slower
or less exact is read with a default; what would be wrong without it fails.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

#: The versions that the contracts were tried on.
TRIED = ("3.12", "3.15")

# Where a class comes from.


def is_stock_operation(klass: type) -> bool:
    """Whether a class is that of a function in `keras.ops`."""
    return klass.__module__.startswith("keras.src.ops.")


def functional_class(model: keras.Model) -> Any:
    """The class of functional models, among a model's bases."""
    return next(c for c in type(model).__mro__ if c.__name__ == "Functional")


# Graphs of functional models.


def functional_part(model: keras.Model) -> keras.Function | None:
    """The functional model inside a Sequential one; None: it has no inputs yet."""
    return getattr(model, "_functional", None)


def input_structure(function: keras.Function) -> Any:
    """The inputs, as structured as a call gets them."""
    return function._inputs_struct


def output_structure(function: keras.Function) -> Any:
    """The outputs, as structured as a call returns them."""
    return function._outputs_struct


def nodes_in_order(function: Any) -> Iterator[Any]:
    """The nodes of a graph, each behind those whose outputs it takes."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        yield from function._nodes_by_depth[depth]


def has_origin(tensor: Any) -> bool:
    """Whether a tensor knows the operation that it comes from."""
    return hasattr(tensor, "_keras_history")


def origin(tensor: Any) -> tuple:
    """The operation a tensor comes from, the index of its node and of the output."""
    return tensor._keras_history


def parents(operation: keras.Operation, node_index: int) -> list:
    """The tensors that a call of an operation took."""
    return operation._inbound_nodes[node_index].input_tensors


def run_graph(
    function: keras.Function, inputs: Any, operation: Callable, call: Callable
) -> Any:
    """Calls all operations of a graph anew.

    Args:
        function: functional model.
        inputs: structure of tensors.
        operation: function of an operation, which returns the one to call.
        call: function `(operation, *args, **kwargs)` that calls it.
    """
    return function._run_through_graph(inputs, operation_fn=operation, call_fn=call)


def forget_mask(tensor: Any) -> None:
    """Takes from a tensor the mask that a layer attached."""
    if hasattr(tensor, "_keras_mask"):
        tensor._keras_mask = None


# Layers.


def all_layers(model: keras.Layer, include_self: bool = True) -> list:
    """A model's layers at any depth."""
    return list(model._flatten_layers(include_self=include_self, recursive=True))


def takes_training(operation: Any) -> bool:
    """Whether a layer's `call` has an argument `training`."""
    return bool(getattr(operation, "_call_has_training_arg", False))


def forget_build_shapes(layer: keras.Layer) -> None:
    """Lets a layer's config not say with which shapes it was built."""
    layer._build_shapes_dict = None


def clear_losses(layer: keras.Layer) -> None:
    """Drops what a layer has added to the loss."""
    layer._clear_losses()


# Copies of layers.

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


def rename(old: keras.Operation, new: Any, name: str) -> None:
    """Gives a copy a name, which the paths of what it owns begin with."""
    before = getattr(old, "_path", None) or old.name
    new.name = name
    if not isinstance(new, keras.Layer):
        return
    for x in [new, *all_layers(new, include_self=False), *new.variables]:
        path = x._path
        if path is not None and (path == before or path.startswith(f"{before}/")):
            x._path = name + path[len(before) :]


# Attention.

#: The layers inside an attention layer that make its queries, keys and values.
PROJECTIONS = ("_query_dense", "_key_dense", "_value_dense")
#: The one that makes its output, and the one of a gate (newer versions).
OUTPUT_PROJECTION, GATE_PROJECTION = "_output_dense", "_gate_dense"


def output_projection(layer: Any) -> keras.Layer:
    """The layer inside an attention layer that makes its output."""
    return getattr(layer, OUTPUT_PROJECTION)


# Training.


def build_symbolically(model: keras.Model, batch: tuple) -> None:
    """Makes the variables of metrics, loss and optimizer from a batch's shapes."""
    model._symbolic_build(data_batch=batch)


def compile_settings(model: keras.Model) -> dict | None:
    """The arguments of `compile`; None: it was not compiled."""
    return getattr(getattr(model, "_compile_config", None), "config", None)


def loss_parts(model: keras.Model) -> tuple[Any, list]:
    """What a built loss consists of.

    Returns:
        The structure of the outputs, and a list of `(path in it, loss, weight, name)`.
    """
    compiled: Any = model._compile_loss
    return compiled._y_pred_build_structure, compiled._flat_losses


def loss_function_options(loss: Any) -> dict[str, Any]:
    """What a loss object passes on to its function."""
    return dict(getattr(loss, "_fn_kwargs", {}))


def wrapped_function(metric: Any) -> tuple[Callable, dict[str, Any]]:
    """The function that a `MeanMetricWrapper` takes the mean of, and its options."""
    return metric._fn, dict(metric._fn_kwargs)


def loss_tracker(model: keras.Model) -> Any:
    """The metric that shows the loss."""
    return model._loss_tracker


def start_at(model: keras.Model, epoch: int) -> None:
    """Lets the `fit` that is beginning start at a later epoch."""
    model._initial_epoch = epoch


# Training on JAX.


def refresh_jax_state(model: Any) -> None:
    """Makes the values of the variables those that `fit` goes on with, if it runs."""
    state = getattr(model, "_jax_state", None)
    if state:
        values = model._get_jax_state(**dict.fromkeys(state, True))
        model._jax_state = dict(zip(state, values, strict=True))


# Optimizers.

#: Attributes of an optimizer that hold variables, but no slots.
NO_SLOTS = ("_variables", "_trainable_variables", "_var_to_optimizer_idx")
#: Slots that are means from zero on, of which an optimizer knows how far they have come
#: by its count of steps; and the attributes with their decay.
MEANS_FROM_ZERO = {
    "Adam": {
        "_momentums": "beta_1",
        "_velocities": "beta_2",
        "_velocity_hats": "beta_2",
    },
    "Adamax": {"_m": "beta_1"},
    "Lamb": {"_momentums": "beta_1", "_velocities": "beta_2"},
    "Muon": {"adam_velocities": "adam_beta_2"},
    "Nadam": {"_velocities": "beta_2"},
    "ScheduleFreeAdamW": {"_velocities": "beta_2"},
}


def trained_variables(optimizer: Any) -> list:
    """The weights that an optimizer was built for, in the order of its slots."""
    return optimizer._trainable_variables


def key_of(optimizer: Any, variable: keras.Variable) -> Any:
    """What a weight is called in an optimizer's dicts."""
    return optimizer._var_key(variable)


def own_steps(optimizer: Any) -> keras.Variable:
    """An optimizer's own count of steps, which accumulated gradients do not divide."""
    return optimizer._iterations


def rate_or_schedule(optimizer: Any) -> Any:
    """The learning rate: a variable, a schedule or a function."""
    return optimizer._learning_rate


def undecayed(optimizer: Any) -> tuple[Any, Any] | None:
    """Which weights do not decay: keys, and a pattern of names; None: nobody asked."""
    if not hasattr(optimizer, "_exclude_from_weight_decay"):
        return None
    return (
        optimizer._exclude_from_weight_decay,
        optimizer._exclude_from_weight_decay_pattern,
    )


def part_of(optimizer: Any, variable: keras.Variable) -> int | None:
    """The place of the optimizer that a `MultiOptimizer` has for a weight, or None."""
    return optimizer._var_to_optimizer_idx.get(key_of(optimizer, variable))


def optimizer_map(default: Any, parts: dict[str, Any]) -> Any:
    """What a `MultiOptimizer` is made of.

    Args:
        default: optimizer of weights that are not named.
        parts: dict, path of a weight -> optimizer.
    """
    from keras.src.optimizers.multi_optimizer import OptimizerMap

    return OptimizerMap(default_optimizer=default, optimizer_map=parts)


def factored_squares(optimizer: Any) -> tuple[list, list]:
    """Adafactor's means over rows and over columns, `_r` and `_c`, by weight."""
    return optimizer._r, optimizer._c


#: Their names.
FACTORED_SQUARES = ("_r", "_c")
