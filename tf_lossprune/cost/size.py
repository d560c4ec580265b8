"""Bytes of the LiteRT file."""

import os
import tempfile

import keras

from tf_lossprune.cost.base import (
    BYTES,
    CostFunction,
    Resource,
    register_resource,
    weight_terms,
)
from tf_lossprune.cost.fusion import folds_into_kernel, merged_calls
from tf_lossprune.cost.model import CostModel
from tf_lossprune.precision import check_precision
from tf_lossprune.surgery import copy_graph

#: Bytes of a kernel's entry.
KERNEL_BYTES = {"fp32": 4, "fp16": 2, "int8": 1, "int8_fp32_io": 1}
#: Bytes of a bias' entry; in int8 with scale and zero point (4 + 8 bytes) of the
#: channel in the kernel and in the bias.
BIAS_BYTES = {"fp32": 4, "fp16": 2, "int8": 4 + 24, "int8_fp32_io": 4 + 24}


class FileSize(CostFunction):
    """The bytes of weights and biases, and a part that does not depend on widths.

    Args:
        weights: `CostModel` of the bytes that follow the widths.
        overhead: float, what the file holds besides them.
    """

    name = "size_bytes"

    def __init__(self, weights, overhead):
        self.sizes = weights.sizes
        self._weights = weights
        self._overhead = float(overhead)
        self.dense = weights.dense + self._overhead
        self._share = weights.dense / max(self.dense, 1.0)

    def total(self, kept):
        return self._weights.total(kept) + self._overhead

    def per_layer(self, kept):
        return self._weights.per_layer(kept)

    def fraction(self, ratios):
        fixed = 1.0 - self._share
        return self._weights.fraction(ratios) * self._share + fixed

    def gradient_fraction(self, ratios):
        return self._weights.gradient_fraction(ratios) * self._share


@keras.saving.register_keras_serializable(package="tf_lossprune")
class SizeBytes(Resource):
    """Bytes of the `.tflite` file at a precision.

    Kernels and biases are counted, batch normalisation as the bias it becomes.
    What the file holds besides them (the graph, names, padding) hardly depends on
    the widths: it is measured once, by converting the dense model. Delivered
    models are converted and measured.

    Args:
        precision: string, `"fp32"`, `"fp16"`, `"int8"` or `"int8_fp32_io"`.
        overhead: float or None, those other bytes; None: measured.

    Raises:
        ValueError: for another precision.
    """

    name = "size_bytes"
    unit = "bytes"
    units = BYTES
    measured = True

    def __init__(self, precision="fp32", overhead=None):
        self.precision = check_precision(precision)
        self.overhead = overhead

    def get_config(self):
        return {"precision": self.precision, "overhead": self.overhead}

    def bind(self, channels):
        if self.overhead is not None:
            return self
        dense, _ = copy_graph(channels.graph)
        measured = self.measure(dense, channels)
        overhead = max(measured - self._weights(channels).dense, 0.0)
        return SizeBytes(self.precision, overhead)

    def function(self, channels):
        return FileSize(self._weights(channels), self.bind(channels).overhead)

    def measure(self, model, channels):
        """Bytes of the file that `model` is converted to."""
        from tf_lossprune.deploy import convert_to_measure

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.tflite")
            convert_to_measure(model, path, self.precision)
            return os.path.getsize(path)

    def _weights(self, channels):
        return CostModel(
            self.name,
            weight_terms(channels, self._bytes_of(channels)),
            channels.group_of,
            [group.size for group in channels.groups],
        )

    def _bytes_of(self, channels):
        kernel, bias = KERNEL_BYTES[self.precision], BIAS_BYTES[self.precision]
        with_bias = _merged_normalizations(channels)

        def bytes_of(record, name):
            layer = record.layer
            if isinstance(layer, keras.layers.BatchNormalization):
                if id(layer) in with_bias:
                    return bias if name == "moving_mean" else 0
                return bias if name in ("moving_mean", "moving_variance") else 0
            if len(record.weight(name).shape) > 1:
                return kernel
            return bias

        return bytes_of


def _merged_normalizations(channels):
    """Ids of the batch normalisations that become the bias of a layer before them."""
    merged = merged_calls(channels.graph)
    return {
        id(call.operation)
        for call in channels.graph.calls
        if folds_into_kernel(call, merged) and not merged[id(call)].operation.use_bias
    }


register_resource(SizeBytes())
