"""Memory for activations: the fullest moment of one inference."""

import warnings
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.graph import Call, ChannelGraph, Tensor
from tf_lossprune.graph.own_weight import OwnWeight
from tf_lossprune.precision import check_precision
from tf_lossprune.resources.base import (
    BYTES,
    CostFunction,
    Resource,
    register_resource,
)
from tf_lossprune.resources.fusion import merged_calls
from tf_lossprune.resources.measurer import Measurer, MeasuresFile
from tf_lossprune.resources.model import unit_counts
from tf_lossprune.resources.opaque import check_counted, check_sizes, opaque_calls
from tf_lossprune.types import BackendTensor, Path

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

    def __init__(
        self, name: str, per_kept: Any, fixed: Any, sizes: Any, layers: Iterable[str]
    ) -> None:
        self.name = name
        self.sizes = np.asarray(sizes)
        self._layers = np.asarray(layers, dtype=object)
        self._per_kept, self._fixed = np.asarray(per_kept), np.asarray(fixed)
        self.dense = self.total(self.sizes)
        scale = 1.0 / max(self.dense, 1.0)
        self._slope = (self._per_kept * self.sizes * scale).astype("float32")
        self._offset = (self._fixed * scale).astype("float32")

    def scaled(self, factor: float) -> "LargestSum":
        """The same function times a factor."""
        per_kept, fixed = factor * self._per_kept, factor * self._fixed
        return LargestSum(self.name, per_kept, fixed, self.sizes, self._layers)

    def plus(self, per_kept: Any, fixed: float) -> "LargestSum":
        """The same function and a sum: `fixed + per_kept n`, `[groups]`."""
        sums = self._per_kept + per_kept, self._fixed + fixed
        return LargestSum(self.name, *sums, self.sizes, self._layers)

    def total(self, kept: np.ndarray) -> float:
        sums = self._per_kept @ np.asarray(kept, np.float64) + self._fixed
        return float(np.rint(sums.max(initial=0)))

    def totals_with(self, kept: np.ndarray, changed: np.ndarray) -> np.ndarray:
        kept = np.asarray(kept, np.float64)
        sums = self._per_kept @ kept + self._fixed
        sums = sums[:, None] + self._per_kept * (changed - kept)
        return np.rint(sums.max(axis=0, initial=0))

    def fixed_share(self, layers: Iterable[str]) -> float:
        fixed = self._fixed[np.isin(self._layers, list(layers))]
        return float(fixed.max(initial=0)) / max(self.dense, 1.0)

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        return ops.max(self._sums(ratios))

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        fullest = ops.argmax(self._sums(ratios))
        return ops.take(ops.convert_to_tensor(self._slope), fullest, axis=0)

    def _sums(self, ratios: BackendTensor) -> BackendTensor:
        ratios = ops.cast(ratios, "float32")
        return ops.sum(self._slope * ratios, axis=1) + self._offset


@keras.saving.register_keras_serializable(package="tf_lossprune")
class PeakMemory(MeasuresFile, Resource):
    """Bytes of the arena that holds the activations of one inference.

    Both sides of a budget are measured, where LiteRT files can be made and run: the
    dense model's arena once, and every delivered one's. In between, and where nothing
    can be measured (another backend than TensorFlow, inputs of unknown sizes), the
    activations that are alive at the fullest moment are counted as LiteRT's planner
    does it for one sample: an operation's inputs and outputs are alive while it runs,
    a tensor lives until its last reader has run, and the model's inputs stay. What the
    converter merges into the operation before it (batch normalisation, ReLU) needs no
    tensor of its own. Attention's scores count, and inside a layer that no rule knows,
    the tensors of its operations. Gaps between tensors do not: `benchmarks/memory.py`
    compares.

    Args:
        precision: string, `"fp32"`, `"fp16"` (weights only, so the same),
            `"int8"` or `"int8_fp32_io"`.
        measure: `"auto"` (measure where that is possible) or a bool.
        dense: float or None, bytes of the dense model's arena; None: measured when
            the budget is bound.
        measurer: `Measurer` or None; `prune_model` and `inspect_model` set it.

    Raises:
        ValueError: for another precision or `measure`.
    """

    name = "peak_memory_bytes"
    unit = "bytes"
    units = BYTES

    def __init__(
        self,
        precision: str = "fp32",
        measure: str | bool = "auto",
        dense: float | None = None,
        measurer: Measurer | None = None,
    ) -> None:
        super().__init__(measurer)
        self.precision = check_precision(precision)
        if measure != "auto" and not isinstance(measure, bool):
            raise ValueError(
                f"Expected measure as 'auto' or a bool. Received: measure={measure!r}"
            )
        self._measure = measure
        self.dense = dense

    def get_config(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "measure": self._measure,
            "dense": self.dense,
            **super().get_config(),
        }

    @property
    def measured(self) -> bool:  # type: ignore[override]
        """Whether delivered models are measured: a bool."""
        if self._measure != "auto" or self.measurer is None:
            return self._measure is True
        plans = type(self.measurer).arena is not Measurer.arena
        return plans and self.measurer.works_here()

    def bind(self, channels: ChannelGraph) -> "PeakMemory":
        if not self.measured or self.dense is not None:
            return self
        known = all(
            None not in t.shape[1:] for t in tree.flatten(channels.graph.inputs)
        )
        if self._measure == "auto" and not known:
            return PeakMemory(self.precision, measure=False)
        check_counted(channels, self.name)
        try:
            arena = self.measure(self.ask().dense(channels), channels)
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            if self._measure is True:
                raise
            warnings.warn(
                "`peak_memory_bytes` is counted, not measured, as no file of the dense "
                "model could be made and run (`PeakMemory(measure=False)` says so "
                f"from the start): {error}",
                stacklevel=2,
            )
            return PeakMemory(self.precision, measure=False)
        return PeakMemory(self.precision, True, float(arena), self.measurer)

    def read(self, path: Path) -> float:
        return self.ask().arena(path)

    def function(self, channels: ChannelGraph) -> LargestSum:
        counted = self._counted(channels)
        dense = self.bind(channels).dense
        if dense is None or not counted.dense:
            return counted
        return counted.scaled(dense / counted.dense)

    def _counted(self, channels: ChannelGraph) -> LargestSum:
        check_counted(channels, self.name)
        check_sizes(channels, self.name)
        return counted_memory(self.name, channels, ACTIVATION_BYTES[self.precision])


def counted_memory(
    name: str, channels: ChannelGraph, bytes_each: int, inputs_stay: bool = True
) -> LargestSum:
    """What is alive at the fullest moment, as a function of the widths.

    Args:
        name: string, the resource.
        channels: `ChannelGraph`.
        bytes_each: int, bytes of one activation.
        inputs_stay: bool, whether the model's inputs keep their memory to the end.
    """
    groups = len(channels.groups)
    buffers, owner = _buffers(channels)
    alive = _alive(channels, buffers, owner, inputs_stay)
    per_kept, fixed = np.zeros((len(buffers), groups)), np.zeros(len(buffers))
    for row, tensor in enumerate(buffers):
        counts, always = _elements(channels, tensor)
        per_kept[row], fixed[row] = counts, always
    sizes = np.array([group.size for group in channels.groups])
    per_kept = per_kept / np.maximum(sizes, 1)
    calls = channels.graph.calls
    per_kept, fixed = alive @ per_kept, alive @ fixed
    opaque = {id(c): opaque.work.elements for c, opaque in opaque_calls(channels)}
    for row, call in enumerate(calls):
        counts, always = _elements_inside(channels, call)
        per_kept[row] += counts / np.maximum(sizes, 1)
        fixed[row] += always + opaque.get(id(call), 0.0)
    return LargestSum(
        name,
        bytes_each * per_kept,
        bytes_each * fixed,
        sizes,
        [call.operation.name for call in calls],
    )


def _elements(channels: ChannelGraph, tensor: Tensor) -> tuple[np.ndarray, float]:
    """Elements of a tensor by group, and those that always stay."""
    labels = channels.labels[id(tensor)]
    counts, always = unit_counts(labels, channels.group_of, len(channels.groups))
    times = np.prod(tensor.sizes, dtype=float) / labels.size
    return counts * times, always * times


def _elements_inside(channels: ChannelGraph, call: Call) -> tuple[np.ndarray, float]:
    """Elements by group, and those that always stay, of tensors inside a layer."""
    inside = channels.record(call.operation).inside
    number, labels = inside.get(id(call), (0.0, np.zeros(0, int)))
    counts, always = unit_counts(labels, channels.group_of, len(channels.groups))
    return counts * number, always * number


def _buffers(channels: ChannelGraph) -> tuple[list[Tensor], dict[int, int]]:
    """The tensors that need memory, and for each tensor which of them it is in."""
    graph = channels.graph
    merged = merged_calls(graph)
    buffers = list(tree.flatten(graph.inputs))
    owner = {id(tensor): row for row, tensor in enumerate(buffers)}
    for call in graph.calls:
        for tensor in call.outputs:
            if isinstance(call.operation, OwnWeight):
                continue  # a constant, which lies in the file
            if id(call) in merged:
                owner[id(tensor)] = owner[id(merged[id(call)].outputs[0])]
            else:
                owner[id(tensor)] = len(buffers)
                buffers.append(tensor)
    return buffers, owner


def _alive(
    channels: ChannelGraph,
    buffers: list[Tensor],
    owner: dict[int, int],
    inputs_stay: bool,
) -> np.ndarray:
    """0/1 `[calls, buffers]`: what is alive while each call runs."""
    graph = channels.graph
    first = np.full(len(buffers), len(graph.calls))
    last = np.zeros(len(buffers), int)
    for tensor in tree.flatten(graph.inputs):
        # LiteRT never overwrites an input; microcontrollers do.
        first[owner[id(tensor)]] = 0
        last[owner[id(tensor)]] = len(graph.calls) if inputs_stay else 0
    for step, call in enumerate(graph.calls):
        for tensor in (*call.inputs, *call.outputs):
            if id(tensor) not in owner:
                continue
            row = owner[id(tensor)]
            first[row] = min(first[row], step)
            last[row] = max(last[row], step)
    for tensor in tree.flatten(graph.outputs):
        last[owner[id(tensor)]] = len(graph.calls) - 1
    steps = np.arange(len(graph.calls))[:, None]
    return ((first <= steps) & (steps <= last)).astype(float)


register_resource(PeakMemory())
