"""Depthwise convolutions with wide kernels, as LiteRT computes them fast.

XNNPACK has depthwise kernels of up to 25 taps. What is wider falls back to another
algorithm: on a CPU with AVX-512, 7x7 takes 17 times as long as 5x5. So a wide kernel
is computed in pieces of at most 25 taps, whose results are added up.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.types import BackendTensor

#: Taps of the widest depthwise kernel that is fast.
FAST_TAPS = 25

_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_GROUPED = (layers.Conv1D, layers.Conv2D)


@contextlib.contextmanager
def in_pieces(model: keras.Model) -> Iterator[None]:
    """Lets the wide depthwise convolutions of a model compute in pieces for a while."""
    changed = [layer for layer in internals.all_layers(model) if _is_wide(layer)]
    for layer in changed:
        layer.call = functools.partial(_call, layer, layer.call)
    try:
        yield
    finally:
        for layer in changed:
            del layer.call


def _is_wide(layer: Any) -> bool:
    """Whether it is a stock layer with a depthwise kernel of too many taps."""
    if type(layer) not in (*_DEPTHWISE, *_SEPARABLE, *_GROUPED) or not layer.built:
        return False
    if layer.data_format != "channels_last" or layer.padding == "causal":
        return False
    # The kernel of a grouped convolution has the channels of one group.
    if type(layer) in _GROUPED and (layer.groups < 2 or layer.kernel.shape[-2] > 1):
        return False
    return int(np.prod(layer.kernel_size)) > FAST_TAPS


def _call(layer: Any, stock: Callable, inputs: BackendTensor) -> BackendTensor:
    """What the layer computes; as it does itself where sizes are not known."""
    if None in inputs.shape[1:]:
        return stock(inputs)
    name = "depthwise_kernel" if type(layer) in _SEPARABLE else "kernel"
    kernel = ops.convert_to_tensor(getattr(layer, name))
    if type(layer) in _GROUPED:
        shape = (*layer.kernel_size, layer.groups, layer.filters // layer.groups)
        kernel = ops.reshape(kernel, shape)
    strides, dilation = layer.strides, layer.dilation_rate
    x = inputs
    if layer.rank == 1:
        x, kernel = ops.expand_dims(x, 1), ops.expand_dims(kernel, 0)
        strides, dilation = 2 * tuple(strides), 2 * tuple(dilation)
    y = depthwise_in_pieces(x, kernel, strides, layer.padding, dilation)
    if layer.rank == 1:
        y = ops.squeeze(y, 1)
    if type(layer) in _SEPARABLE:
        y = ops.conv(y, layer.pointwise_kernel)
    y = y + layer.bias if layer.use_bias else y
    return y if layer.activation is None else layer.activation(y)


def depthwise_in_pieces(
    x: BackendTensor,
    kernel: BackendTensor,
    strides: tuple[int, int],
    padding: str,
    dilation: tuple[int, int],
) -> BackendTensor:
    """A depthwise convolution, as a sum of such with at most `FAST_TAPS` taps.

    Args:
        x: tensor `(batch, height, width, channels)` of known sizes.
        kernel: tensor `(height, width, channels, multiplier)`.
        strides, dilation: pairs of ints.
        padding: `"same"` or `"valid"`.
    """
    sizes, taps = x.shape[1:3], kernel.shape[:2]
    spans = [(k - 1) * d + 1 for k, d in zip(taps, dilation)]
    made = [(n - s) // t + 1 for n, s, t in zip(sizes, spans, strides)]
    if padding == "same":
        made = [-(-n // t) for n, t in zip(sizes, strides)]
        pads = [
            max((m - 1) * t + s - n, 0)
            for m, t, s, n in zip(made, strides, spans, sizes)
        ]
        around = [(p // 2, p - p // 2) for p in pads]
        x = ops.pad(x, [(0, 0), *around, (0, 0)])
    columns = min(taps[1], FAST_TAPS)
    rows = FAST_TAPS // columns
    pieces = []
    corners = (range(0, taps[0], rows), range(0, taps[1], columns))
    for top, left in itertools.product(*corners):
        piece = kernel[top : top + rows, left : left + columns]
        read = x
        for axis, first in enumerate((top, left)):
            begin = first * dilation[axis]
            span = (piece.shape[axis] - 1) * dilation[axis] + 1
            end = begin + (made[axis] - 1) * strides[axis] + span
            if (begin, end) != (0, read.shape[1 + axis]):
                part = slice(begin, end)
                read = read[:, part] if axis == 0 else read[:, :, part]
        pieces.append(
            ops.depthwise_conv(read, piece, strides, "valid", dilation_rate=dilation)
        )
    return functools.reduce(ops.add, pieces)
