"""What is left of a branch without channels: the constant it adds."""

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.graph.blocks import (
    CONSTANT,
    OWN,
    NotWithout,
    is_addition,
    is_dead,
    state_of_tensors,
)
from tf_lossprune.graph.tracing import Tensor
from tf_lossprune.values import numpy_of

#: Stands for sizes that are not known.
SIZE = 8


def dead_values(channels, keep):
    """Evaluates the tensors that no longer depend on the model's input.

    Args:
        channels: `ChannelGraph`; its layers hold the weights.
        keep: bool `[num_units + 1]`, the units that stay.

    Returns:
        Dict, `id(tensor)` -> array at full width, for one sample: zeros for a tensor
        without channels, else the constant. What it adds to the network's values has
        size 1 along the axes along which it is the same.

    Raises:
        ValueError: if a group has no channels that the model cannot do without.
    """
    if all(keep[group.units].any() for group in channels.groups):
        return {}
    try:
        return evaluate(channels, keep, state_of_tensors(channels, keep))
    except NotWithout as error:
        empty = [g.name for g in channels.groups if not keep[g.units].any()]
        raise ValueError(
            "Expected at least one channel in each group that is not on a branch "
            f"beside a skip path. Received: no channels in {empty} ({error})"
        ) from error


def evaluate(channels, keep, states, vary=None):
    """The values of dead tensors, as in `dead_values`.

    Args:
        channels, keep: as there.
        states: dict, as from `state_of_tensors`.
        vary: random generator, or None; then whatever makes a constant of nothing makes
            another one than its weights do.

    Raises:
        NotWithout: if a constant depends on sizes that are not known.
    """
    values, dead = {}, {}
    for call in channels.graph.calls:
        state = states[id(call.outputs[0])] if call.outputs else None
        if state in (CONSTANT, OWN):
            found = _evaluate(channels, call, values, keep)
            fresh = not any(states.get(id(t)) == CONSTANT for t in call.inputs)
            if vary is not None and state == CONSTANT and fresh:
                found = [vary.normal(size=y.shape[-1:]) + 0 * y for y in found]
        elif is_dead(state):
            found = [_zeros(t) for t in call.outputs]
        else:
            if is_addition(call.operation):
                for tensor in call.inputs:
                    if is_dead(states.get(id(tensor))):
                        dead[id(tensor)] = _smallest(call, tensor, values[id(tensor)])
            continue
        for tensor, value in zip(call.outputs, found, strict=True):
            values[id(tensor)] = value
            if is_dead(state):
                dead[id(tensor)] = value
    return dead


def unknown_axes(tensor):
    """The axes, but for the batch's, whose sizes may be any."""
    return [
        axis
        for axis, size in enumerate(tensor.shape)
        if size is None and axis != tensor.batch_axis
    ]


def _zeros(tensor):
    """Zeros for one sample."""
    shape = [SIZE if size is None else size for size in tensor.sizes]
    if tensor.batch_axis is not None and tensor.sizes[tensor.batch_axis] is None:
        shape[tensor.batch_axis] = 1
    floating = keras.backend.is_float_dtype(tensor.dtype)
    return np.zeros(shape, "float32" if floating else tensor.dtype)


def _smallest(call, tensor, value):
    """A constant without the axes along which it is the same."""
    whole = value.shape
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if (first == value).all():
            value = first
    unknown = unknown_axes(tensor)
    if any(value.shape[axis] > 1 for axis in unknown):
        raise NotWithout(
            f"what {call.operation.name!r} would add depends on sizes that may be any"
        )
    known = tuple(1 if axis in unknown else size for axis, size in enumerate(whole))
    return np.broadcast_to(value, known)


def _evaluate(channels, call, values, keep):
    def fill(x):
        if not isinstance(x, Tensor):
            return x
        value = values.get(id(x))
        # What is alive is not looked at.
        return ops.convert_to_tensor(_zeros(x) if value is None else value)

    args, kwargs = tree.map_structure(fill, (call.args, call.kwargs))
    found = channels.gated_call(call)
    if found is not None:
        units, computation = found
        gates = keep[units].astype("float32")
        outputs = computation(call.operation, gates, *args, **kwargs)
    elif call.is_layer:
        with keras.StatelessScope(_closed(channels, call.operation, keep)):
            outputs = call.operation(*args, **kwargs)
    else:
        outputs = call.operation(*args, **kwargs)
    return [ops.convert_to_numpy(y) for y in tree.flatten(outputs)]


def _closed(channels, layer, keep):
    """The values of a layer's variables whose kernels do not see what is cut."""
    values = {id(v): (v, v.value) for v in layer.variables}
    for name, axes in channels.gated(layer).items():
        variable = channels.record(layer).weight(name)
        value = numpy_of(variable)
        for axis, units in axes.items():
            shape = [1] * value.ndim
            shape[axis] = -1
            value = value * keep[units].reshape(shape)
        values[id(variable)] = variable, ops.convert_to_tensor(value, variable.dtype)
    return [*values.values()]


def kept_part(channels, tensor, value, keep):
    """Cuts the channels out of the value `(1, ...)` of a tensor at full width."""
    labels, batch = channels.labels[id(tensor)], tensor.batch_axis
    for axis, size in enumerate(labels.shape):
        place = axis if batch is None or axis < batch else axis + 1
        if size > 1 and value.shape[place] > 1:
            value = value.compress(keep[labels.reshape(-1)], axis=place)
    if id(tensor) in channels.hidden and value.shape[-1] > 1:
        value = value.compress(keep[channels.hidden[id(tensor)]], axis=-1)
    return value
