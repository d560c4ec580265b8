"""Networks of one operation, over the widths that it may get.

They are what a device's latency is measured on: each operation of a model that the
runtime executes, at several numbers of input and output channels.
"""

import collections
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from tf_lossprune.graph import Call, ChannelGraph
from tf_lossprune.graph.own_weight import OwnWeight
from tf_lossprune.graph.replaying import Cloner
from tf_lossprune.graph.tracing import Tensor
from tf_lossprune.resources.fusion import merged_calls
from tf_lossprune.resources.operation import TILE

#: Output channels at which a kernel is measured, whole tiles and inside of them, where
#: the operation has more; none below a share of what it has.
WHOLE = (
    8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048,
)  # fmt: skip
INSIDE = (4, 12, 20, 28, 60, 124, 252, 508, 1020)
LEAST = 0.125
#: Kept shares of the input channels: those of a line at each number of output channels,
#: and those that show what a whole tile and one that is not cost.
INPUTS, MORE_INPUTS = (1.0, 0.25), (0.75, 0.5)
#: Kept shares of the channels where bytes are moved: time is linear in them.
BYTES = (1.0, 0.5, 0.25)
#: Entries of a layer's config that do not change how long it takes.
_NO_MATTER = ("name", "dtype", "trainable", "build_config", "seed", "momentum")
_NO_MATTER_ENDINGS = ("_initializer", "_regularizer", "_constraint")


@dataclasses.dataclass(frozen=True)
class Probe:
    """A network of one operation.

    Attributes:
        signature: string, which operation; equal ones are measured once.
        inputs: int, channels of its inputs.
        outputs: int, channels of its output.
        build: function without arguments that returns the `keras.Model`.
        layer: string, the name of an operation that it is of.
        kind: string, the operation's class in small letters.
    """

    signature: str
    inputs: int
    outputs: int
    build: Callable[[], keras.Model]
    layer: str = ""
    kind: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        """What is measured: `(signature, inputs, outputs)`."""
        return self.signature, self.inputs, self.outputs


def executed_calls(channels: ChannelGraph) -> list[Call]:
    """The calls that the runtime executes.

    Those merged into others are left out, and weights with what is computed of them
    alone, which are constants there.

    Args:
        channels: `ChannelGraph`.

    Returns:
        A list of `Call`s.
    """
    merged, found, constant = merged_calls(channels.graph), [], set()
    for call in channels.graph.calls:
        inputs = {id(t) for t in call.inputs}
        if isinstance(call.operation, OwnWeight):  # some pass on what they are given
            fixed = (t for t in call.outputs if t.batch_axis is None)
            constant.update(id(t) for t in fixed if t.sizes[:1] != (1,))
        elif inputs and inputs <= constant:
            constant.update(id(t) for t in call.outputs)
        elif id(call) not in merged:
            found.append(call)
    return found


def network_probes(channels: ChannelGraph) -> list[tuple[Probe, int]]:
    """The probes of a network, each once.

    Args:
        channels: `ChannelGraph`.

    Returns:
        A list of pairs: a `Probe`, and how many calls the dense network has of it.
    """
    found, counts = {}, collections.Counter()
    for call in executed_calls(channels):
        for index, probe in enumerate(call_probes(channels, call)):
            found.setdefault(probe.key, probe)
            counts[probe.key] += index == 0
    return [(probe, counts[key]) for key, probe in found.items()]


def signature(channels: ChannelGraph, call: Call) -> str:
    """Text that is equal for calls which differ in nothing but their widths.

    Args:
        channels: `ChannelGraph`.
        call: `Call` of its graph.
    """
    widths = channels.record(call.operation).config
    config = {
        key: value
        for key, value in _config(call.operation).items()
        if key not in (*widths, *_NO_MATTER) and not key.endswith(_NO_MATTER_ENDINGS)
    }

    def shown(x: Any) -> Any:
        if isinstance(x, Tensor):
            return "tensor"
        if isinstance(x, (int, float, str, type(None))):
            return x
        return f"{type(x).__name__} {tuple(getattr(x, 'shape', ()))}"

    parts = {
        "class": type(call.operation).__name__,
        "config": config,
        "inputs": [_without_channels(channels, call, t) for t in call.inputs],
        "arguments": tree.map_structure(shown, [call.args, call.kwargs]),
    }
    return json.dumps(parts, sort_keys=True, default=str)


def _config(operation: Any) -> dict[str, Any]:
    """The config of an operation; where it has none, its name tells it from others."""
    try:
        return operation.get_config()
    except (NotImplementedError, TypeError, ValueError):
        return {"operation": operation.name}


def _without_channels(channels: ChannelGraph, call: Call, tensor: Tensor) -> list:
    """The sample's shape, with a star where channels lie."""
    labels, shape = channels.labels[id(tensor)], list(tensor.sizes[1:])
    first = getattr(call.operation, "data_format", None) == "channels_first"
    varying = [axis for axis, size in enumerate(labels.shape) if size > 1]
    for axis in varying or ([0 if first else -1] if shape else []):
        shape[axis] = "*"
    batch = tensor.sizes[:1]
    return shape if batch == (1,) else [*batch, *shape]


def channel_entries(channels: ChannelGraph, tensors: Sequence[Tensor]) -> np.ndarray:
    """The units of some tensors' channels, one entry a channel.

    Args:
        channels: `ChannelGraph`.
        tensors: list of `Tensor`s of its graph.

    Returns:
        int array: where a tensor's labels do not vary, its last axis counts.
    """
    found = []
    for tensor in tensors:
        labels = channels.labels[id(tensor)].reshape(-1)
        if labels.size == 1:
            size = tensor.sizes[-1] if tensor.sample_shape else 1
            labels = np.broadcast_to(labels, (size or 1,))
        found.append(labels)
    return np.concatenate(found)


def has_kernel(name: str) -> bool:
    """Whether an operation's time has steps, as that of a kernel over tiles.

    Args:
        name: string, the operation's class.
    """
    return "Conv" in name or "Dense" in name


def signature_class(text: str) -> str:
    """The class of the operation that a signature is of; empty for other texts."""
    try:
        return str(json.loads(text)["class"])
    except (ValueError, KeyError, TypeError):
        return ""


def signature_digest(text: str) -> str:
    """A short name of a signature."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def call_probes(channels: ChannelGraph, call: Call) -> list[Probe]:
    """The probes of one call over the grid of widths.

    Args:
        channels: `ChannelGraph`.
        call: `Call` of its graph.

    Returns:
        A list of `Probe`s with distinct numbers of channels, the dense one first.
    """
    given = channel_entries(channels, call.inputs)
    made = channel_entries(channels, call.outputs)
    groups_in = set(channels.group_of[given]) - {-1}
    groups_out = set(channels.group_of[made]) - {-1} - groups_in
    follows = bool(channels.group_of[made].max() >= 0) and not groups_out
    kind = type(call.operation).__name__
    text, found = signature(channels, call), {}
    for share_in, share_out in _grid(
        len(given), len(made), has_kernel(kind), follows, bool(groups_out)
    ):
        keep = np.ones(channels.num_units + 1, bool)
        for groups, share in ((groups_in, share_in), (groups_out, share_out)):
            for k in groups:
                units = channels.groups[k].units
                keep[units[max(1, round(share * len(units))) :]] = False
        key = int(keep[given].sum()), int(keep[made].sum())
        if key not in found:
            build = _builder(channels, call, keep)
            layer = call.operation.name
            found[key] = Probe(text, *key, build, layer, kind.lower())
    return list(found.values())


def _grid(
    given: int, made: int, kernel: bool, follows: bool, varies: bool
) -> list[tuple[float, float]]:
    """Shares of input and output channels, the dense network's first.

    Args:
        given, made: ints, the channels.
        kernel: bool, as `has_kernel` says.
        follows: bool, whether the outputs are the inputs' channels.
        varies: bool, whether the outputs have channels of their own.
    """
    whole, inside = (_shares(made, w) for w in (WHOLE, INSIDE))
    outputs = (1.0, *whole) if kernel else BYTES
    if follows:
        outputs = (*outputs, *inside) if kernel else outputs
        return [(share, share) for share in outputs]
    if not varies:
        outputs = (1.0,)
    found = [*itertools.product(INPUTS, outputs)]
    if kernel:
        found += [(1.0, share) for share in inside if varies]
        for share in MORE_INPUTS:
            tile = max(1, round(share * given / TILE)) * TILE
            narrower = tile, tile - TILE // 2
            found += [(w / given, 1.0) for w in narrower if w < given]
    return found


def _shares(size: int, widths: Sequence[int]) -> list[float]:
    return [width / size for width in widths if LEAST * size <= width < size]


def _builder(
    channels: ChannelGraph, call: Call, keep: np.ndarray
) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        cloner = Cloner([call.operation] if call.is_layer else [])
        inputs = {}
        for tensor in call.inputs:
            if id(tensor) not in inputs:
                shape = _kept_shape(tensor, channels.labels[id(tensor)], keep)
                inputs[id(tensor)] = keras.Input(
                    batch_shape=shape, dtype=_file_dtype(tensor)
                )
        args, kwargs = tree.map_structure(
            lambda x: inputs[id(x)] if isinstance(x, Tensor) else x,
            [call.args, call.kwargs],
        )
        record = channels.record(call.operation)
        if id(call) in record.arguments:
            units, function = record.arguments[id(call)]
            args = function(list(args), keep[units])
        config = {k: f(keep[units]) for k, (units, f) in record.config.items()}
        if record.weights or config:
            layer = cloner(call.operation, **config)
        else:  # as it is, whatever it is
            layer = cloner.copy(call.operation)
            args, kwargs = cloner.arguments([args, kwargs])
        outputs = layer(*args, **kwargs)
        return keras.Model(list(inputs.values()), outputs, name="probe")

    return build


def _file_dtype(tensor: Tensor) -> str:
    """The dtype of a tensor in a file, where floats are in float32."""
    return "float32" if keras.backend.is_float_dtype(tensor.dtype) else tensor.dtype


def _kept_shape(tensor: Tensor, labels: np.ndarray, keep: np.ndarray) -> tuple:
    shape = list(tensor.sizes[1:])
    for axis, size in enumerate(labels.shape):
        if size > 1:
            others = tuple(a for a in range(labels.ndim) if a != axis)
            shape[axis] = int(keep[labels].any(axis=others).sum())
    folded = tensor.sizes[:1] != (1,)
    return (tensor.sizes[0] if folded else None, *shape)
