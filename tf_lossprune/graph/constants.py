"""What is left of a branch without channels: the constant it adds."""

import numpy as np
from keras import ops, tree

from tf_lossprune.graph.blocks import ALIVE, CONSTANT, state_of_tensors
from tf_lossprune.graph.tracing import Tensor


def dead_values(channels, keep):
    """Evaluates the tensors that no longer depend on the model's input.

    Args:
        channels: `ChannelGraph`; its layers hold the weights.
        keep: bool `[num_units + 1]`, the units that stay.

    Returns:
        Dict, `id(tensor)` -> array `(1, *sample shape)` at full width: zeros for a
        tensor without channels, else the constant.

    Raises:
        ValueError: if a group has no channels that the model cannot do without.
    """
    if all(keep[group.units].any() for group in channels.groups):
        return {}
    states = state_of_tensors(channels, keep)
    if states is None:
        empty = [g.name for g in channels.groups if not keep[g.units].any()]
        raise ValueError(
            "Expected at least one channel in each group that is not on a branch "
            f"beside a skip path. Received: no channels in {empty}"
        )
    values = {}
    for call in channels.graph.calls:
        state = states[id(call.outputs[0])]
        if state == ALIVE:
            continue
        if state == CONSTANT:
            found = _evaluate(channels, call, values, keep)
        else:
            found = [np.zeros((1, *t.sample_shape), "float32") for t in call.outputs]
        for tensor, value in zip(call.outputs, found, strict=True):
            values[id(tensor)] = value
    return values


def _evaluate(channels, call, values, keep):
    gated = call.is_layer and channels.gated(call.operation)

    def fill(x):
        if not isinstance(x, Tensor):
            return x
        value = values[id(x)]
        # A kernel does not see the channels that are cut.
        return value * keep[channels.labels[id(x)]] if gated else value

    args, kwargs = tree.map_structure(fill, (call.args, call.kwargs))
    found = channels.gated_call(call)
    if found is None:
        outputs = call.operation(*args, **kwargs)
    else:
        units, computation = found
        gates = keep[units].astype("float32")
        outputs = computation(call.operation, gates, *args, **kwargs)
    return [ops.convert_to_numpy(y) for y in tree.flatten(outputs)]


def kept_part(channels, tensor, value, keep):
    """Cuts the channels out of the value `(1, ...)` of a tensor at full width."""
    labels = channels.labels[id(tensor)]
    for axis, size in enumerate(labels.shape):
        if size > 1:
            value = value.compress(keep[labels.reshape(-1)], axis=axis + 1)
    return value
