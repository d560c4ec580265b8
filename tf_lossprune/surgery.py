"""Rebuilds the compact model: channels that were gated away are cut out."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.cut_variables import remember_cut
from tf_lossprune.graph import Call, ChannelGraph, Graph
from tf_lossprune.graph.constants import dead_values, kept_part
from tf_lossprune.graph.opening import open_model
from tf_lossprune.graph.record import LayerRecord
from tf_lossprune.graph.replaying import Cloner, make_inputs, replay
from tf_lossprune.graph.tracing import trace
from tf_lossprune.values import numpy_of

#: Stands for a tensor that is a constant or has no channels.
_DEAD = object()


def cut(
    channels: ChannelGraph, keep: np.ndarray, name: str | None = None
) -> keras.Model:
    """Builds the compact functional model.

    Args:
        channels: `ChannelGraph`; its layers hold the weights.
        keep: bool `[num_units + 1]`, the units that stay.
        name: string or None, the new model's name.

    Returns:
        A functional `keras.Model` of clones of the same layer classes.
    """
    cloner = Cloner(channels.graph.layers, draw_weights=False)
    dead = dead_values(channels, keep)
    changed = _changed(channels, keep, dead)
    made = {}

    def call_fn(call: Call, args: Any, kwargs: Any) -> Any:
        operation = call.operation
        if id(call.outputs[0]) in dead:
            return [_DEAD for _ in call.outputs]
        if any(id(t) in dead for t in call.inputs):
            return _add_constants(channels, keep, cloner, call, args, dead)
        args, kwargs = cloner.arguments([args, kwargs])
        if id(operation) not in changed:
            made[id(operation)] = cloner.copy(operation)
            return made[id(operation)](*args, **kwargs)
        record = channels.record(operation)
        if id(call) in record.arguments:
            units, function = record.arguments[id(call)]
            args = function(list(args), keep[units])
        if id(operation) in made:
            return made[id(operation)](*args, **kwargs)
        made[id(operation)], outputs = _resize(cloner, record, keep, args, kwargs)
        return outputs

    inputs = make_inputs(channels.graph, cloner)
    outputs = replay(channels.graph, inputs, call_fn)
    model = keras.Model(inputs, outputs, name=name or channels.graph.name)
    cloner.restore()
    operations = {id(call.operation): call.operation for call in channels.graph.calls}
    remember_cut(model, keep, [(operations[key], new) for key, new in made.items()])
    return model


def _changed(channels: ChannelGraph, keep: np.ndarray, dead: dict) -> set[int]:
    """The ids of the operations that get other widths, by config, weights or inputs."""
    changed = set()
    for call in channels.graph.calls:
        record = channels.record(call.operation)
        labels = [channels.labels[id(t)] for t in (*call.inputs, *call.outputs)]
        labels += [x for axes in record.weights.values() for x in axes.values()]
        labels += [units for units, _ in record.config.values()]
        if id(call) in record.arguments:
            labels.append(record.arguments[id(call)][0])
        if not all(keep[x].all() for x in labels):
            changed.add(id(call.operation))
    return changed


def _resize(
    cloner: Cloner, record: LayerRecord, keep: np.ndarray, args: Any, kwargs: Any
) -> tuple[Any, Any]:
    """Makes a layer with other widths and calls it.

    Its weights are copied at once, as the memory that its first ones leave is then the
    next layer's.

    Returns:
        The new layer and its outputs.
    """
    operation = record.layer
    config = {k: f(keep[units]) for k, (units, f) in record.config.items()}
    try:
        new = cloner(operation, **config)
        outputs = new(*args, **kwargs)
        if isinstance(operation, keras.Layer):
            copy_weights(operation, new, record, keep)
        return new, outputs
    except Exception as error:
        values = {}
        if isinstance(operation, keras.Layer):
            kept = _kept_weights(record, keep)
            values = dict(zip(map(id, operation.weights), kept))
        cloner.forget(operation)
        try:
            new = cloner.narrowed(operation, values, config)
            return new, new(*args, **kwargs)
        except Exception:
            raise ValueError(
                "Expected a layer that can be made again with fewer channels: its "
                "`get_config` has to return what its `__init__` takes. (The trained "
                f"weights are safe, in the pruned model.) Received: {operation.name!r} "
                f"({type(operation).__name__}): {error}"
            ) from error


def _add_constants(
    channels: ChannelGraph,
    keep: np.ndarray,
    cloner: Cloner,
    call: Call,
    args: Any,
    dead: dict,
) -> Any:
    """What a sum becomes of which some summands are constants."""
    living = [x for x in tree.flatten(args) if x is not _DEAD]
    x = living[0] if len(living) == 1 else cloner(call.operation)(living)
    constant = sum(dead[id(t)] for t in call.inputs if id(t) in dead)
    constant = kept_part(channels, call.outputs[0], constant, keep)[0]
    if not constant.any():
        return x
    if all(size in (None, mine) for size, mine in zip(x.shape[1:], constant.shape)):
        constant = _broadcastable(constant)
    name = cloner.unique(f"{call.operation.name}_constant")
    offset = constant.astype(float).tolist()
    return keras.layers.Rescaling(1.0, offset, name=name, dtype=x.dtype)(x)


def _broadcastable(array: np.ndarray) -> np.ndarray:
    """An array without the axes along which it is the same."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        array = first if (first == array).all() else array
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return array


def copy_graph(
    graph: Graph, dtype: str | None = None, share: bool = False
) -> tuple[keras.Model, dict[int, str]]:
    """Makes a flat functional copy of a traced model, with the same weights.

    Args:
        graph: `Graph`.
        dtype: string or None, the floating type to compute in; None: each layer's own.
        share: bool, whether the copy reads the variables of the model.

    Returns:
        The copy, and a dict from the id of a layer or operation to its copy's name.
    """
    cloner = Cloner(graph.layers, dtype=dtype, names=graph.names, share=share)

    def call_fn(call: Call, args: Any, kwargs: Any) -> Any:
        args, kwargs = cloner.arguments([args, kwargs])
        return cloner.copy(call.operation)(*args, **kwargs)

    inputs = make_inputs(graph, cloner, dtype)
    outputs = replay(graph, inputs, call_fn)
    model = keras.Model(inputs, outputs, name=graph.name)
    operations = [call.operation for call in graph.calls]
    return model, {id(o): cloner.copy(o).name for o in operations}


def flat_graph(
    model: keras.Model, choices: Sequence = (), input_shape: Any = None
) -> tuple[Graph, list]:
    """The graph of a model to look at, in which everything is called by its path.

    Args:
        model: `keras.Model`; not changed.
        choices: what chooses layers: `exclude`, `filters` of `prune_model`.
        input_shape: as in `open_model`.

    Returns:
        The `Graph` of the model; where something had to be opened, that of a flat copy
        which reads the same variables. And a list of what the choices are for that one.
    """
    graph = open_model(model, input_shape)
    if not graph.opened:
        return graph, list(choices)
    _, names, flat = traced_copy(graph, share=True)
    originals = {names[id(c.operation)]: c.operation for c in graph.calls}

    def of_original(choice: Callable) -> Callable:
        return lambda layer: choice(originals[layer.name])

    return flat, [of_original(c) if callable(c) else c for c in choices]


def traced_copy(
    graph: Graph, share: bool = False
) -> tuple[keras.Model, dict[int, str], Graph]:
    """A flat functional copy of a traced model, as `copy_graph` makes it, traced.

    Returns:
        The copy; a dict from the id of a layer or operation to its copy's name; and the
        copy's `Graph`, which knows what was opened and what was not.
    """
    copy, names = copy_graph(graph, share=share)
    flat = trace(copy)
    flat.opened = graph.opened
    mark_closed(
        flat, {names[key]: why for key, why in graph.closed.items() if key in names}
    )
    return copy, names, flat


def mark_closed(graph: Graph, reasons: dict[str, str]) -> None:
    """Tells a graph why layers were not opened: dict, name -> reason."""
    graph.closed = {
        id(call.operation): reasons[call.operation.name]
        for call in graph.calls
        if call.operation.name in reasons
    }


def reasons_closed(graph: Graph) -> dict[str, str]:
    """Dict, name of a layer that was not opened -> why."""
    return {
        call.operation.name: graph.closed[id(call.operation)]
        for call in graph.calls
        if id(call.operation) in graph.closed
    }


def _value(variable: Any) -> Any:
    """A variable's value, in no memory of its own where the backend can lend it."""
    if keras.backend.backend() == "tensorflow":
        return ops.copy(variable.value)  # of two that share it, a writer copies
    return numpy_of(variable)


def _kept_weights(record: LayerRecord, keep: np.ndarray) -> list:
    """The kept slices of a layer's weights."""
    declared = {id(record.weight(n)): axes for n, axes in record.weights.items()}
    factors = {id(record.weight(n)): f for n, f in record.factors.items()}
    values = []
    for variable in record.layer.weights:
        value = _value(variable)
        for axis, units in declared.get(id(variable), {}).items():
            if not keep[units].all():
                value = np.asarray(value).compress(keep[units], axis=axis)
        if id(variable) in factors:
            units, function = factors[id(variable)]
            if not keep[units].all():
                value = np.asarray(value)
                value = value * np.asarray(function(keep[units]), value.dtype)
        values.append(value)
    return values


def copy_weights(
    source: keras.Layer, target: keras.Layer, record: LayerRecord, keep: np.ndarray
) -> None:
    """Copies the kept slices of a layer's weights to its smaller clone.

    Random states too, so that a run that goes on draws what it would have drawn.
    """
    target.set_weights(_kept_weights(record, keep))
    states = [_without_weights(layer) for layer in (source, target)]
    for state, new in zip(*states):
        new.assign(ops.copy(state.value))  # JAX may give the first one's memory away
    if isinstance(source, keras.layers.Normalization):
        target.finalize_state()  # it computes with tensors made of its weights


def _without_weights(layer: keras.Layer) -> list:
    """The variables of a layer that are no weights: states of random generators."""
    weights = {id(variable) for variable in layer.weights}
    return [v for v in layer.variables if id(v) not in weights]
