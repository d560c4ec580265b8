"""Bytes of the tensor arena on a microcontroller."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.precision import check_precision
from tf_lossprune.resources.base import BYTES, Resource, register_resource
from tf_lossprune.resources.measurer import Measurer, MeasuresFile
from tf_lossprune.resources.memory import (
    ACTIVATION_BYTES,
    LargestSum,
    counted_memory,
)
from tf_lossprune.resources.model import unit_counts
from tf_lossprune.resources.opaque import check_counted, check_sizes
from tf_lossprune.resources.probes import channel_entries, executed_calls
from tf_lossprune.types import Path

layers = keras.layers
#: Bytes that last for each output channel of a quantised kernel: a factor and a shift.
_CHANNEL_BYTES = 8
_PER_CHANNEL = (
    layers.Conv1D, layers.Conv2D, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.SeparableConv1D, layers.SeparableConv2D, layers.Conv1DTranspose,
    layers.Conv2DTranspose, layers.Dense, layers.EinsumDense,
)  # fmt: skip


@keras.saving.register_keras_serializable(package="tf_lossprune")
class TflmArena(MeasuresFile, Resource):
    """Bytes of the tensor arena that LiteRT for Microcontrollers (TFLM) needs.

    Both sides of a budget are TFLM's own figures, which are deterministic: the dense
    file's, and those of every delivered one. In between, activations are counted as
    `PeakMemory` counts them, but for the inputs, whose memory is used again, at the
    scale of the dense file; what lasts (structures of tensors and operations) as
    the dense file has it, less 8 bytes for each output channel of a kernel that goes.

    Needs `pip install 'tf_lossprune[micro]'`.

    Args:
        precision: string, `"int8"`, `"int8_fp32_io"` or `"fp32"`; TFLM does not unpack
            fp16 weights.
        dense: pair of ints or None, bytes of the dense file's activations and of what
            lasts; None: measured when the budget is bound.
        measurer: `Measurer` or None; `prune_model` and `inspect_model` set it.

    Raises:
        ValueError: for another precision.

    Example:

    ```python
    tf_lossprune.prune_model(model, {"tflm_arena_bytes": "48 KiB"})
    ```
    """

    name = "tflm_arena_bytes"
    unit = "bytes"
    units = BYTES
    measured = True

    def __init__(
        self,
        precision: str = "int8",
        dense: Sequence[float] | None = None,
        measurer: Measurer | None = None,
    ) -> None:
        super().__init__(measurer)
        if check_precision(precision) == "fp16":
            raise ValueError(
                "Expected a precision that LiteRT for Microcontrollers runs: 'int8', "
                f"'int8_fp32_io' or 'fp32'. Received: {precision!r}"
            )
        self.precision = precision
        self.dense = None if dense is None else tuple(dense)

    def get_config(self) -> dict[str, Any]:
        config = {"precision": self.precision, "dense": self.dense}
        return {**config, **super().get_config()}

    def bind(self, channels: ChannelGraph) -> "TflmArena":
        if self.dense is not None:
            return self
        measurer = self.ask()
        path = measurer.file(measurer.dense(channels), self.precision)
        return TflmArena(self.precision, measurer.micro_arena(path), measurer)

    def read(self, path: Path) -> float:
        return float(sum(self.ask().micro_arena(path)))

    def function(self, channels: ChannelGraph) -> LargestSum:
        activations, lasting = self.bind(channels).dense or (0.0, 0.0)
        check_counted(channels, self.name)
        check_sizes(channels, self.name)
        counted = counted_memory(
            self.name, channels, ACTIVATION_BYTES[self.precision], inputs_stay=False
        )
        counted = counted.scaled(activations / max(counted.dense, 1.0))
        per_kept = self._lasting(channels)
        sizes = np.array([group.size for group in channels.groups])
        return counted.plus(per_kept, lasting - per_kept @ sizes)

    def _lasting(self, channels: ChannelGraph) -> np.ndarray:
        """Bytes that last for each channel of each group, `[groups]`."""
        groups = len(channels.groups)
        found = np.zeros(groups)
        if self.precision == "fp32":
            return found
        for call in executed_calls(channels):
            if isinstance(call.operation, _PER_CHANNEL):
                made = channel_entries(channels, call.outputs)
                counts, _ = unit_counts(made, channels.group_of, groups)
                found += _CHANNEL_BYTES * counts
        sizes = np.array([group.size for group in channels.groups])
        return found / np.maximum(sizes, 1)


register_resource(TflmArena())
