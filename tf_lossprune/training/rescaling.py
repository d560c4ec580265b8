"""Scales and offsets of normalisations that take statistics over channels.

With fewer channels, the mean and the variance are others. So that channel k gives what
it gave before, `y_k`, of what it gives now, `z_k`, the regression `a_k z_k + b_k` of
the former on the latter becomes a part of the scale and the offset.
"""

import keras
import numpy as np
from keras import layers, ops, tree

from tf_lossprune.training.moments import in_halves, tensors_of
from tf_lossprune.training.program import as_program
from tf_lossprune.values import numpy_of

#: The names of the scale and the offset.
WEIGHTS = {
    layers.LayerNormalization: ("gamma", "beta"),
    layers.GroupNormalization: ("gamma", "beta"),
    layers.RMSNormalization: ("scale", None),
}
#: What is added to variances, as a share of the mean variance.
RIDGE = 1e-6


def rescale(channel_graph, keep, changes, inputs, values):
    """Fits scales and offsets to what normalisations gave before a cut.

    Args:
        channel_graph: `ChannelGraph`.
        keep: bool `[num_units + 1]`, the units that stay.
        changes: `Changes`; gets the `scales`.
        inputs: list of batches, as `some_inputs` returns it.
        values: dict, id of a variable -> the variable and its new value, which has the
            size from before the cut; the new values are added.

    Returns:
        List of the names of the layers that got others.
    """
    calls = _calls(channel_graph, changes)
    if not calls:
        return []
    given, seen, after = tensors_of(channel_graph, changes)
    wanted = [t[id(call.outputs[0])] for call in calls for t in (seen, after)]
    network = keras.Model(given, wanted)
    axes = [_axis(channel_graph, call) for call in calls]

    def sums(x):
        tensors = iter(tree.flatten(network(x, training=False)))
        found = []
        for axis in axes:
            y, z = (_rows(next(tensors), axis) for _ in range(2))
            parts = [ops.ones_like(y), y, z, y * y, y * z, z * z]
            found.append(ops.stack([ops.sum(part, axis=0) for part in parts]))
        return found

    program = as_program(sums, network, often=True)
    halves = in_halves(
        inputs,
        lambda x: [ops.convert_to_numpy(v).astype("float64") for v in program(x)],
    )
    of_layer = {}
    for call, *pair in zip(calls, *halves):
        before = of_layer.get(id(call.operation))
        both = pair if before is None else [a + b for a, b in zip(before[1], pair)]
        of_layer[id(call.operation)] = call, both
    names = []
    for call, pair in of_layer.values():
        layer = call.operation
        scale, offset = (getattr(layer, n or "", None) for n in WEIGHTS[type(layer)])
        if getattr(layer, "rms_scaling", False):
            offset = None
        kept = keep[channel_graph.labels[id(call.outputs[0])].reshape(-1)]
        found = _fitted(pair, kept, scale is not None, offset is not None)
        if found is not None:
            names.append(layer.name)
            shape = _shape(call, _axis(channel_graph, call))
            changes.scales[id(layer)] = tuple(v.reshape(shape) for v in found)
            _put(values, scale, offset, *found)
    return names


def _calls(channel_graph, changes):
    """The calls of normalisations with a weight for each channel that is cut."""
    found = []
    for call in channel_graph.graph.calls:
        names = WEIGHTS.get(type(call.operation), ())
        weights = [getattr(call.operation, name or "", None) for name in names]
        shapes = {tuple(w.shape) for w in weights if w is not None}
        size = channel_graph.labels[id(call.outputs[0])].size
        if changes.mixes(call) and shapes == {(size,)}:
            found.append(call)
    return found


def _axis(channel_graph, call):
    """Along which axis of the output its channels are."""
    return int(np.argmax(channel_graph.labels[id(call.outputs[0])].shape)) + 1


def _shape(call, axis):
    shape = [1] * len(call.outputs[0].shape)
    shape[axis] = -1
    return shape


def _rows(x, axis):
    x = ops.cast(ops.moveaxis(x, axis, -1), "float32")
    return ops.reshape(x, (-1, x.shape[-1]))


def _fitted(halves, kept, scaled, centred):
    """Factors and offsets of the channels; None if they are of no use.

    Each half has `[6, channels]`: the number of rows, and the sums of y, z and their
    products.
    """
    if not all(np.isfinite(half).all() for half in halves):
        return None  # the repair says so
    better, before = 0.0, 0.0
    for fitted, held_out in (halves, halves[::-1]):
        a, b = _regression(fitted, scaled, centred)
        better += _error(held_out, a, b)[kept].sum()
        before += _error(held_out, np.ones_like(a), np.zeros_like(b))[kept].sum()
    if not better < before:
        return None
    a, b = _regression(halves[0] + halves[1], scaled, centred)
    return np.where(kept, a, 1.0), np.where(kept, b, 0.0)


def _regression(sums, scaled, centred):
    count, y, z, _, yz, zz = sums
    mean_y, mean_z = (y / count, z / count) if centred else (0.0 * y, 0.0 * z)
    covariance = yz / count - mean_y * mean_z
    variance = zz / count - mean_z**2
    level = RIDGE * variance.mean() + np.finfo("float32").tiny
    a = (covariance + level) / (variance + level) if scaled else np.ones_like(y)
    return a, mean_y - a * mean_z


def _error(sums, a, b):
    """The sum of `(y - a z - b)^2` of each channel."""
    count, y, z, yy, yz, zz = sums
    return yy + a * a * zz + b * b * count - 2 * a * yz - 2 * b * y + 2 * a * b * z


def _put(values, scale, offset, a, b):
    for variable, change in ((scale, lambda v: a * v), (offset, lambda v: a * v + b)):
        if variable is not None:
            value = numpy_of(variable).astype("float64")
            values[id(variable)] = variable, change(value)
