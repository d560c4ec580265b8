"""What weights read that a layer makes inside, where a network has no tensor for it."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.rules.attention import OUTPUT

_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN)
#: Of a GRU's two rows of biases, the one of the state.
_OF_THE_STATE = 1


@dataclasses.dataclass(eq=False)
class Inside:
    """A weight that reads what its layer makes inside.

    Attributes:
        weight: string, the weight's name.
        units: int `[inputs]`, the unit of each of its inputs.
        inputs: int, how many axes of the weight they run along, from `axis` on.
        axis: int.
        bias: variable or None, what is added to its outputs.
        place: index into it.
        probe: layer that takes what its layer takes, and returns `[..., inputs]`.
        also: int `[inputs]` or None, a further unit with which each goes.
    """

    weight: str
    units: np.ndarray
    inputs: int
    axis: int
    bias: Any
    place: Any
    probe: keras.layers.Layer
    also: np.ndarray | None = None


def find_inside(record: Any, weight: str, axis: int) -> Inside | str | None:
    """Finds what a gated weight of a layer reads inside.

    Args:
        record: `LayerRecord`.
        weight: string, the name of the weight that loses channels.
        axis: int, the axis along which it does.

    Returns:
        An `Inside`; a string, why there is none; or None if the weight reads a tensor
        of the network.
    """
    layer, units = record.layer, record.weights[weight][axis]
    if type(layer) in _SEPARABLE and weight == "depthwise_kernel":
        # Both kernels lose the channel; the second one can read others in its place.
        units = record.weights["pointwise_kernel"][layer.rank]
        probe = _Probe(layer, _depthwise)
        name = "pointwise_kernel"
        return Inside(name, units, 1, layer.rank, layer.bias, ..., probe)
    if type(layer) in _RECURRENT and weight == "cell.recurrent_kernel":
        if type(layer) is layers.GRU and not layer.cell.reset_after:
            return "it reads the state after a reset"
        bias = layer.cell.bias if layer.cell.use_bias else None
        place: Any = ...
        if bias is not None and len(bias.shape) > 1:
            place = _OF_THE_STATE
        probe = _Probe(layer, _states, _sequence(layer))
        return Inside(weight, units, 1, 0, bias, place, probe)
    if type(layer) is layers.MultiHeadAttention and weight == f"{OUTPUT}.kernel":
        output = internals.output_projection(layer)
        heads, dims = record.weights[weight][0], record.weights[weight][1]
        both = np.repeat(heads, len(dims)), np.tile(dims, len(heads))
        return Inside(
            weight,
            both[axis],
            2,
            0,
            output.bias,
            ...,
            _Probe(layer, _heads),
            both[1 - axis],
        )
    stacked = re.search(r"cells\.[1-9]", weight)  # it reads the cell before it
    if "recurrent" in weight or stacked or weight.startswith(OUTPUT):
        return "it reads what its layer makes inside"
    return None


class _Probe(keras.layers.Layer):
    """Shows what a layer makes inside; it shares the layer's weights."""

    def __init__(self, layer, compute, *parts):
        super().__init__(dtype=layer.dtype_policy)
        self.layer, self.parts = layer, parts
        self._compute: Callable = compute
        self.supports_masking = True
        self.built = True

    def call(self, *args, **kwargs):
        return self._compute(self.layer, *self.parts, *args, **kwargs)


def _depthwise(layer, x):
    """What the depthwise half of a separable convolution makes."""
    first = layer.data_format == "channels_first"
    padding = layer.padding
    if padding == "causal":
        reach = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
        along, none = (reach, 0), (0, 0)
        x = ops.pad(x, [none, none, along] if first else [none, along, none])
        padding = "valid"
    found = ops.depthwise_conv(
        x,
        layer.depthwise_kernel,
        layer.strides,
        padding,
        layer.data_format,
        layer.dilation_rate,
    )
    return ops.moveaxis(found, 1, -1) if first else found


def _sequence(layer):
    """The same cell, whose states are all shown."""
    return layers.RNN(
        layer.cell, return_sequences=True, go_backwards=layer.go_backwards
    )


def _states(layer, sequence, x, mask=None):
    del layer
    return sequence(x, mask=mask)


def _heads(layer, *args, **kwargs):
    """What the heads of an attention give, before their outputs are added up."""
    found = internals.without_output_projection(layer, *args, **kwargs)
    found = found[0] if isinstance(found, (tuple, list)) else found
    # Rows are all that is wanted: samples and places stand one below the other.
    return ops.reshape(found, (-1, found.shape[-2] * found.shape[-1]))
