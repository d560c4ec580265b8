"""Bytes of the LiteRT file."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.graph.record import LayerRecord, find_weight
from tf_lossprune.precision import check_precision
from tf_lossprune.resources.base import (
    BYTES,
    CostFunction,
    Resource,
    Term,
    register_resource,
    weight_terms,
)
from tf_lossprune.resources.fusion import folded_normalizations
from tf_lossprune.resources.measurer import Measurer, MeasuresFile
from tf_lossprune.resources.model import CostModel
from tf_lossprune.resources.opaque import undeclared_weights
from tf_lossprune.resources.probes import channel_entries
from tf_lossprune.types import BackendTensor, Path

#: Bytes of a weight's entry.
ENTRY_BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "int8_fp32_io": 1}
#: Bytes of a bias' entry; in int8 it has 32 bits, a scale (4) and a zero point (8).
BIAS_BYTES = {"fp32": 4, "fp16": 2, "int8": 16, "int8_fp32_io": 16}
#: Bytes that a kernel has besides its entries for each of its output channels: in
#: int8 the channel's scale and zero point.
CHANNEL_BYTES = {"fp32": 0, "fp16": 0, "int8": 12, "int8_fp32_io": 12}

layers = keras.layers
#: Operations that have a bias in the file, zeros if the layer has none.
_ALWAYS_BIASED = (
    layers.Conv1D, layers.Conv2D, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip
#: Operations that have one if the layer has, or for what is folded into them.
_SOMETIMES_BIASED = (
    layers.Dense, layers.EinsumDense, layers.Conv1DTranspose, layers.Conv2DTranspose,
)  # fmt: skip
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
#: Layers whose kernel stays in floats where the rest has 8 bits.
_FLOAT_KERNELS = (layers.Conv3D, layers.Conv3DTranspose)


class FileSize(CostFunction):
    """The bytes of weights and biases, and a part that does not depend on widths.

    Args:
        weights: `CostModel` of the bytes that follow the widths.
        overhead: float, what the file holds besides them.
        opaque: dict, layer name -> the bytes in the overhead that are its weights.
    """

    name = "size_bytes"

    def __init__(
        self,
        weights: CostModel,
        overhead: float,
        opaque: Mapping[str, float] | None = None,
    ) -> None:
        self.sizes = weights.sizes
        self._weights = weights
        self._overhead = float(overhead)
        self._opaque = dict(opaque or {})
        self.dense = weights.dense + self._overhead
        self._share = weights.dense / max(self.dense, 1.0)

    def total(self, kept: np.ndarray) -> float:
        return self._weights.total(kept) + self._overhead

    def totals_with(self, kept: np.ndarray, changed: np.ndarray) -> np.ndarray:
        return self._weights.totals_with(kept, changed) + self._overhead

    def per_layer(self, kept: np.ndarray) -> dict[str, float]:
        return self._weights.per_layer(kept)

    def fixed_share(self, layers: Iterable[str]) -> float:
        opaque = sum(self._opaque.get(name, 0.0) for name in layers)
        opaque = min(opaque, self._overhead) / max(self.dense, 1.0)
        return super().fixed_share(layers) + opaque

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        fixed = 1.0 - self._share
        return self._weights.fraction(ratios) * self._share + fixed

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        return self._weights.gradient_fraction(ratios) * self._share


@keras.saving.register_keras_serializable(package="tf_lossprune")
class SizeBytes(MeasuresFile, Resource):
    """Bytes of the `.tflite` file at a precision.

    Both sides of a budget are measured on files: the dense model's once, and every
    delivered one's. In between, weights are counted as the converter stores them: a
    batch normalisation behind a kernel, and the layer's own bias, as the one bias of
    that operation. What the file holds besides (the graph, names, padding) hardly
    depends on the widths, and is what the dense file has more than its weights.

    Args:
        precision: string, `"fp32"`, `"fp16"`, `"int8"` or `"int8_fp32_io"`.
        overhead: float or None, bytes besides the weights; None: measured.
        measurer: `Measurer` or None; `prune_model` and `inspect_model` set it.

    Raises:
        ValueError: for another precision.
    """

    name = "size_bytes"
    unit = "bytes"
    units = BYTES
    measured = True

    def __init__(
        self,
        precision: str = "fp32",
        overhead: float | None = None,
        measurer: Measurer | None = None,
    ) -> None:
        super().__init__(measurer)
        self.precision = check_precision(precision)
        self.overhead = overhead

    def get_config(self) -> dict[str, Any]:
        config = {"precision": self.precision, "overhead": self.overhead}
        return {**config, **super().get_config()}

    def bind(self, channels: ChannelGraph) -> "SizeBytes":
        if self.overhead is not None:
            return self
        measured = self.measure(self.ask().dense(channels), channels)
        # Below 0 if weights are stored smaller than they are counted: the dense size
        # is the file's in any case.
        overhead = measured - self._weights(channels).dense
        return SizeBytes(self.precision, overhead, self.measurer)

    def function(self, channels: ChannelGraph) -> FileSize:
        opaque = {
            layer: ENTRY_BYTES[self.precision] * entries
            for layer, entries in undeclared_weights(channels).items()
        }
        overhead = self.bind(channels).overhead or 0.0
        return FileSize(self._weights(channels), overhead, opaque)

    def read(self, path: Path) -> float:
        return os.path.getsize(path)

    def _weights(self, channels: ChannelGraph) -> CostModel:
        return CostModel(
            self.name,
            weight_terms(channels, self._entry_bytes(channels))
            + self._channel_terms(channels),
            channels.group_of,
            [group.size for group in channels.groups],
            channels.goes_with,
        )

    def _entry_bytes(
        self, channels: ChannelGraph
    ) -> Callable[[LayerRecord, str], float]:
        """Function from a layer's record and a weight's name to bytes of an entry."""
        folded = folded_normalizations(channels.graph)
        gone = {id(c.operation) for c in channels.graph.calls if id(c) in folded}
        entry = ENTRY_BYTES[self.precision]
        bias = BIAS_BYTES[self.precision] + CHANNEL_BYTES[self.precision]

        def bytes_of(record: LayerRecord, name: str) -> float:
            *path, name = name.split(".")
            layer = find_weight(record.layer, ".".join(path)) if path else record.layer
            if isinstance(layer, layers.BatchNormalization):
                # Left alone, it is a product and a sum.
                kept = name in ("moving_mean", "moving_variance")
                return entry if kept and id(layer) not in gone else 0
            if name == "bias" and isinstance(layer, _ALWAYS_BIASED + _SOMETIMES_BIASED):
                return bias
            if name == "kernel" and isinstance(layer, _FLOAT_KERNELS):
                return ENTRY_BYTES["fp32"] if entry == 1 else entry
            return entry

        return bytes_of

    def _channel_terms(self, channels: ChannelGraph) -> list[Term]:
        """What kernels hold for output channels for which the layer has no bias."""
        folded = folded_normalizations(channels.graph).values()
        absorbing = {id(call.operation) for call in folded}
        scale, bias = CHANNEL_BYTES[self.precision], BIAS_BYTES[self.precision]
        terms, seen = [], set()
        for call in channels.graph.calls:
            layer = call.operation
            known = isinstance(layer, _ALWAYS_BIASED + _SOMETIMES_BIASED)
            if not known or id(layer) in seen:
                continue
            seen.add(id(layer))
            if layer.bias is None:
                biased = isinstance(layer, _ALWAYS_BIASED) or id(layer) in absorbing
                made = channel_entries(channels, call.outputs)
                terms.append(Term(layer.name, scale + bias * biased, (made,)))
            if isinstance(layer, _SEPARABLE):
                given = channel_entries(channels, call.inputs)
                size = (scale + bias) * layer.depth_multiplier
                terms.append(Term(layer.name, size, (given,)))
        return terms


register_resource(SizeBytes())
