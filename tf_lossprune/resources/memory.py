"""Memory for activations: the fullest moment of one inference."""

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.precision import check_precision
from tf_lossprune.resources.base import (
    BYTES,
    CostFunction,
    Resource,
    register_resource,
)
from tf_lossprune.resources.fusion import merged_calls
from tf_lossprune.resources.model import unit_counts
from tf_lossprune.resources.opaque import check_counted, check_sizes, opaque_calls

#: Bytes of one activation.
ACTIVATION_BYTES = {"fp32": 4, "fp16": 4, "int8": 1, "int8_fp32_io": 1}


class LargestSum(CostFunction):
    """`max_i (A n + c)_i`: the largest of several sums over the kept channels `n`.

    Args:
        name: string, the resource.
        per_kept: float `[sums, groups]`, what one kept channel adds.
        fixed: float `[sums]`, what is always there.
        sizes: int `[groups]`.
        layers: list of strings `[sums]`, the layer that runs then.
    """

    def __init__(self, name, per_kept, fixed, sizes, layers):
        self.name = name
        self.sizes = np.asarray(sizes)
        self._layers = np.asarray(layers, dtype=object)
        self._per_kept, self._fixed = np.asarray(per_kept), np.asarray(fixed)
        self.dense = self.total(self.sizes)
        scale = 1.0 / max(self.dense, 1.0)
        self._slope = (self._per_kept * self.sizes * scale).astype("float32")
        self._offset = (self._fixed * scale).astype("float32")

    def total(self, kept):
        sums = self._per_kept @ np.asarray(kept, np.float64) + self._fixed
        return float(np.rint(sums.max(initial=0)))

    def fixed_share(self, layers):
        fixed = self._fixed[np.isin(self._layers, list(layers))]
        return float(fixed.max(initial=0)) / max(self.dense, 1.0)

    def fraction(self, ratios):
        return ops.max(self._sums(ratios))

    def gradient_fraction(self, ratios):
        fullest = ops.argmax(self._sums(ratios))
        return ops.take(ops.convert_to_tensor(self._slope), fullest, axis=0)

    def _sums(self, ratios):
        ratios = ops.cast(ratios, "float32")
        return ops.sum(self._slope * ratios, axis=1) + self._offset


@keras.saving.register_keras_serializable(package="tf_lossprune")
class PeakMemory(Resource):
    """Bytes of the activations that are alive at the fullest moment.

    Counted as LiteRT's planner does it for one sample: an operation's inputs and
    outputs are alive while it runs, a tensor lives until its last reader has run,
    and the model's inputs stay. What the converter merges into the operation
    before it (batch normalisation, ReLU) needs no tensor of its own. Inside a layer
    that no rule knows, the tensors of its operations count. Gaps between
    tensors and the scratch space of kernels come on top: `benchmarks/memory.py`
    compares.

    Args:
        precision: string, `"fp32"`, `"fp16"` (weights only, so the same),
            `"int8"` or `"int8_fp32_io"`.

    Raises:
        ValueError: for another precision.
    """

    name = "peak_memory_bytes"
    unit = "bytes"
    units = BYTES

    def __init__(self, precision="fp32"):
        self.precision = check_precision(precision)

    def get_config(self):
        return {"precision": self.precision}

    def function(self, channels):
        groups = len(channels.groups)
        check_counted(channels, self.name)
        check_sizes(channels, self.name)
        buffers, owner = _buffers(channels)
        alive = _alive(channels, buffers, owner)
        per_kept, fixed = np.zeros((len(buffers), groups)), np.zeros(len(buffers))
        for row, tensor in enumerate(buffers):
            counts, always = _elements(channels, tensor)
            per_kept[row], fixed[row] = counts, always
        sizes = np.array([group.size for group in channels.groups])
        per_kept = per_kept / np.maximum(sizes, 1)
        bytes_each = ACTIVATION_BYTES[self.precision]
        calls = channels.graph.calls
        inside = {id(c): opaque.work.elements for c, opaque in opaque_calls(channels)}
        extra = np.array([inside.get(id(call), 0.0) for call in calls])
        return LargestSum(
            self.name,
            bytes_each * (alive @ per_kept),
            bytes_each * (alive @ fixed + extra),
            sizes,
            [call.operation.name for call in calls],
        )


def _elements(channels, tensor):
    """Elements of a tensor by group, and those that always stay."""
    labels = channels.labels[id(tensor)]
    counts, always = unit_counts(labels, channels.group_of, len(channels.groups))
    times = np.prod(tensor.sizes, dtype=float) / labels.size
    return counts * times, always * times


def _buffers(channels):
    """The tensors that need memory, and for each tensor which of them it is in."""
    graph = channels.graph
    merged = merged_calls(graph)
    buffers = list(tree.flatten(graph.inputs))
    owner = {id(tensor): row for row, tensor in enumerate(buffers)}
    for call in graph.calls:
        for tensor in call.outputs:
            if id(call) in merged:
                owner[id(tensor)] = owner[id(merged[id(call)].outputs[0])]
            else:
                owner[id(tensor)] = len(buffers)
                buffers.append(tensor)
    return buffers, owner


def _alive(channels, buffers, owner):
    """0/1 `[calls, buffers]`: what is alive while each call runs."""
    graph = channels.graph
    first = np.full(len(buffers), len(graph.calls))
    last = np.zeros(len(buffers), int)
    for tensor in tree.flatten(graph.inputs):
        # LiteRT never overwrites an input.
        first[owner[id(tensor)]], last[owner[id(tensor)]] = 0, len(graph.calls)
    for step, call in enumerate(graph.calls):
        for tensor in (*call.inputs, *call.outputs):
            row = owner[id(tensor)]
            first[row] = min(first[row], step)
            last[row] = max(last[row], step)
    for tensor in tree.flatten(graph.outputs):
        last[owner[id(tensor)]] = len(graph.calls) - 1
    steps = np.arange(len(graph.calls))[:, None]
    return ((first <= steps) & (steps <= last)).astype(float)


register_resource(PeakMemory())
