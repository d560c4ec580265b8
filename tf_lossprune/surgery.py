"""Rebuilds the compact model: channels that were gated away are cut out."""

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.graph.replay import Cloner, make_inputs, replay


def cut(channels, keep, name=None):
    """Builds the compact functional model.

    Args:
        channels: `ChannelGraph`; its layers hold the weights.
        keep: bool `[num_units + 1]`, the units that stay.
        name: string or None, the new model's name.

    Returns:
        A functional `keras.Model` of clones of the same layer classes.
    """
    cloner = Cloner()

    def call_fn(call, args, kwargs):
        operation = call.operation
        if not call.is_layer:
            return cloner(operation)(*args, **kwargs)
        return cloner(operation, **_config(channels, operation, keep))(*args, **kwargs)

    inputs = make_inputs(channels.graph, cloner)
    outputs = replay(channels.graph, inputs, call_fn)
    model = keras.Model(inputs, outputs, name=name or channels.graph.name)
    for layer in channels.graph.layers:
        copy_weights(layer, cloner(layer), channels.record(layer), keep)
    return model


def copy_graph(graph):
    """Makes a flat functional copy of a traced model, with the same weights.

    Args:
        graph: `Graph`.

    Returns:
        The copy, and a dict from `id(layer)` to the name of the layer's clone.
    """
    cloner = Cloner()
    inputs = make_inputs(graph, cloner)
    outputs = replay(
        graph, inputs, lambda call, args, kw: cloner(call.operation)(*args, **kw)
    )
    copy = keras.Model(inputs, outputs, name=graph.name)
    for layer in graph.layers:
        copy_weights(layer, cloner(layer), None, None)
    return copy, {id(layer): cloner(layer).name for layer in graph.layers}


def _config(channels, layer, keep):
    record = channels.record(layer)
    if record is None:
        return {}
    return {
        key: value(int(keep[units].sum()))
        for key, (units, value) in record.config.items()
    }


def copy_weights(source, target, record, keep):
    """Copies the kept slices of a layer's weights to its smaller clone."""
    declared = {}
    if record is not None:
        declared = {id(getattr(source, n)): axes for n, axes in record.weights.items()}
    values = []
    for variable in source.weights:
        value = ops.convert_to_numpy(variable.value)
        for axis, units in declared.get(id(variable), {}).items():
            value = value.compress(keep[units], axis=axis)
        values.append(value)
    target.set_weights(values)


def check_equal(expected, actual, tolerance):
    """Raises `RuntimeError` unless two structures of arrays agree.

    Args:
        expected, actual: structures of arrays.
        tolerance: float, relative to the largest expected value.
    """
    for a, b in zip(tree.flatten(expected), tree.flatten(actual), strict=True):
        a, b = (np.asarray(ops.convert_to_numpy(x), np.float64) for x in (a, b))
        error = np.abs(a - b).max(initial=0) / max(np.abs(a).max(initial=0), 1e-6)
        if not error <= tolerance:
            raise RuntimeError(
                "The compact model does not compute what the gated model does: a "
                "layer's rule is wrong. Please report the model. Received: relative "
                f"difference {error:.2e}, allowed {tolerance:.0e}"
            )
