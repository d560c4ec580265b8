"""Rebuilds the compact model: channels that were gated away are cut out."""

import os
import tempfile

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.graph.constants import dead_values, kept_part
from tf_lossprune.graph.replay import Cloner, make_inputs, replay

#: Stands for a tensor that is a constant or has no channels.
_DEAD = object()


def cut(channels, keep, name=None):
    """Builds the compact functional model.

    Args:
        channels: `ChannelGraph`; its layers hold the weights.
        keep: bool `[num_units + 1]`, the units that stay.
        name: string or None, the new model's name.

    Returns:
        A functional `keras.Model` of clones of the same layer classes.
    """
    cloner = Cloner(draw_weights=False)
    copy = _copy_once(cloner, channels.record, keep)
    dead = dead_values(channels, keep)

    def call_fn(call, args, kwargs):
        if id(call.outputs[0]) in dead:
            return [_DEAD for _ in call.outputs]
        if any(id(t) in dead for t in call.inputs):
            return _add_constants(channels, keep, cloner, call, args, dead)
        record = channels.record(call.operation)
        if id(call) in record.arguments:
            units, function = record.arguments[id(call)]
            args = function(list(args), keep[units])
        config = {k: f(keep[units]) for k, (units, f) in record.config.items()}
        outputs = cloner(call.operation, **config)(*args, **kwargs)
        copy(call.operation)
        return outputs

    inputs = make_inputs(channels.graph, cloner)
    outputs = replay(channels.graph, inputs, call_fn)
    model = keras.Model(inputs, outputs, name=name or channels.graph.name)
    cloner.restore()
    return model


def _add_constants(channels, keep, cloner, call, args, dead):
    """What a sum becomes of which some summands are constants."""
    living = [x for x in tree.flatten(args) if x is not _DEAD]
    x = living[0] if len(living) == 1 else cloner(call.operation)(living)
    constant = sum(dead[id(t)] for t in call.inputs if id(t) in dead)
    constant = kept_part(channels, call.outputs[0], constant, keep)[0]
    if not constant.any():
        return x
    first = constant[(0,) * (constant.ndim - 1)]
    if x.shape[1:] == constant.shape and (constant == first).all():
        constant = first
    name = cloner.unique(f"{call.operation.name}_constant")
    offset = constant.astype(float).tolist()
    return keras.layers.Rescaling(1.0, offset, name=name, dtype=x.dtype)(x)


def copy_graph(graph):
    """Makes a flat functional copy of a traced model, with the same weights.

    Args:
        graph: `Graph`.

    Returns:
        The copy, and a dict from `id(layer)` to the name of the layer's clone.
    """
    cloner = Cloner(draw_weights=False)
    copy = _copy_once(cloner, lambda layer: None, None)

    def call_fn(call, args, kwargs):
        outputs = cloner(call.operation)(*args, **kwargs)
        copy(call.operation)
        return outputs

    inputs = make_inputs(graph, cloner)
    outputs = replay(graph, inputs, call_fn)
    model = keras.Model(inputs, outputs, name=graph.name)
    cloner.restore()
    return model, {id(layer): cloner(layer).name for layer in graph.layers}


def _copy_once(cloner, record, keep):
    """A function that copies the weights of a layer whose clone was just called.

    At once, as the memory that its first weights leave is then the next layer's.
    """
    copied = set()

    def copy(operation):
        if id(operation) not in copied and isinstance(operation, keras.Layer):
            copied.add(id(operation))
            copy_weights(operation, cloner(operation), record(operation), keep)

    return copy


def _value(variable):
    """A variable's value, in no memory of its own where the backend can lend it."""
    if keras.backend.backend() == "tensorflow":
        return ops.copy(variable.value)  # of two that share it, a writer copies
    return ops.convert_to_numpy(variable.value)


def copy_weights(source, target, record, keep):
    """Copies the kept slices of a layer's weights to its smaller clone."""
    declared = {}
    if record is not None:
        declared = {id(record.weight(n)): axes for n, axes in record.weights.items()}
    values = []
    for variable in source.weights:
        value = _value(variable)
        for axis, units in declared.get(id(variable), {}).items():
            if not keep[units].all():
                value = np.asarray(value).compress(keep[units], axis=axis)
        values.append(value)
    target.set_weights(values)
    if isinstance(source, keras.layers.Normalization):
        target.finalize_state()  # it computes with tensors made of its weights
    if hasattr(source, "save_assets"):
        _copy_assets(source, target)


def _copy_assets(source, target):
    """Copies what a layer keeps besides weights, such as a vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        source.save_assets(folder)
        if os.listdir(folder):
            target.load_assets(folder)


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
