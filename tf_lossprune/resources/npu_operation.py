"""Operations of a network as a neural accelerator sees them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras

from tf_lossprune.graph import Call, ChannelGraph, Tensor

layers = keras.layers
_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_POOLING = (
    layers.AveragePooling1D, layers.AveragePooling2D, layers.MaxPooling1D,
    layers.MaxPooling2D,
)  # fmt: skip
_GLOBAL_POOLING = (
    layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D,
)  # fmt: skip
_DENSE = (layers.Dense, layers.EinsumDense)


@dataclasses.dataclass(frozen=True)
class NpuOperation:
    """An operation at any number of channels.

    Attributes:
        kind: string: `"convolution"`, `"depthwise"`, `"dense"`, `"pooling"`, `"sum"`
            (of two inputs) or `"copy"` (whatever else reads and writes elements).
        source: pair of ints, height and width of its input.
        target: pair of ints, those of its output.
        kernel, strides, dilation: pairs of ints.
        same: bool, whether the input is padded with zeros.
        groups: int, into which a convolution's channels fall.
    """

    kind: str
    source: tuple[int, int] = (1, 1)
    target: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = True
    groups: int = 1


def npu_operations(channels: ChannelGraph, call: Call) -> list[NpuOperation]:
    """The operations that a call becomes; the channels of each are the call's.

    Args:
        channels: `ChannelGraph`.
        call: `Call` of its graph that the runtime executes.
    """
    layer = call.operation
    source = _spatial(channels, call.inputs[0]) if call.inputs else (1, 1)
    target = _spatial(channels, call.outputs[0])
    if isinstance(layer, _CONVOLUTIONS + _DEPTHWISE + _SEPARABLE + _POOLING):
        pooling = isinstance(layer, _POOLING)
        window: dict[str, Any] = {
            "source": source,
            "target": target,
            "kernel": _pair(layer.pool_size if pooling else layer.kernel_size),
            "strides": _pair(layer.strides),
            "dilation": (1, 1) if pooling else _pair(layer.dilation_rate),
            "same": layer.padding in ("same", "causal"),
        }
        if isinstance(layer, _SEPARABLE):
            pointwise = NpuOperation("convolution", target, target)
            return [NpuOperation("depthwise", **window), pointwise]
        if isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose)):
            # Zeros between the pixels: a convolution at the size of the output.
            window.update(source=target, strides=(1, 1), same=True)
        if not pooling and not isinstance(layer, _SEPARABLE + _DEPTHWISE):
            window["groups"] = getattr(layer, "groups", 1)
        kind = "pooling" if pooling else "convolution"
        return [
            NpuOperation(
                "depthwise" if isinstance(layer, _DEPTHWISE) else kind, **window
            )
        ]
    if isinstance(layer, _GLOBAL_POOLING):
        return [NpuOperation("pooling", source, (1, 1), source, same=False)]
    if isinstance(layer, _DENSE):
        kind = "dense" if source == target == (1, 1) else "convolution"
        return [NpuOperation(kind, target, target)]
    kind = "sum" if len({id(t) for t in call.inputs}) > 1 else "copy"
    return [NpuOperation(kind, target, target)]


def _pair(sizes: int | Sequence[int]) -> tuple[int, int]:
    """Height and width; what has one dimension has a height of 1."""
    found = (sizes,) if isinstance(sizes, int) else tuple(int(s) for s in sizes)
    return (1, found[0]) if len(found) == 1 else (found[0], found[1])


def _spatial(channels: ChannelGraph, tensor: Tensor) -> tuple[int, int]:
    """Height and width of a tensor, what is left without its channels."""
    labels, shape = channels.labels[id(tensor)], list(tensor.sizes[1:])
    varying = [axis for axis, size in enumerate(labels.shape) if size > 1]
    for axis in varying or ([len(shape) - 1] if shape else []):
        shape[axis] = 1
    if len(shape) == 3 and shape[-1] == 1:
        return shape[0], shape[1]
    return (1, math.prod(shape)) if len(shape) == 2 else (math.prod(shape), 1)
