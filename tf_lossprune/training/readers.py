"""Which weights read channels that are cut, and how they can read others instead."""

import dataclasses
import math
import re
from typing import Any

import keras
import numpy as np

from tf_lossprune.graph.record import find_weight
from tf_lossprune.training.inside import find_inside
from tf_lossprune.training.windows import Window

layers = keras.layers

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_WITH_STATES = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
#: Layers in which each kernel but a recurrent one is multiplied with the input.
_LINEAR = (
    layers.Dense,
    layers.EinsumDense,
    layers.LSTM,
    layers.GRU,
    layers.SimpleRNN,
    layers.RNN,
    layers.Bidirectional,
    layers.MultiHeadAttention,
    layers.GroupQueryAttention,
    *_CONVOLUTIONS,
    *_TRANSPOSED,
    *_WITH_STATES,
)
#: Up to so many inputs of one output, each has coefficients of its own; above, those
#: of one channel share them: the taps of a kernel, the places of a flattened image.
MOST_INPUTS = 1152


@dataclasses.dataclass(eq=False)
class Constant:
    """The variable that takes a constant which a weight's output gains.

    Attributes:
        variable: `keras.Variable`.
        index: where in it.
        sign: float, with which it is added.
    """

    variable: Any
    index: Any
    sign: float


@dataclasses.dataclass(eq=False)
class Slice:
    """A linear map: a part of a weight that reads its inputs independently of others.

    Attributes:
        columns: int `[places, inputs]`, which of a tensor's columns it reads; at
            several places with the same coefficients for a large flattened image.
        units: int `[inputs]`, the unit of each.
        index: int `[inputs, outputs]`, where in the flat weight its matrix is.
        shares: float `[parts]`; the outputs are as many equal parts, and their sum,
            with these factors, is what the layer gains by a constant.
        also: int `[inputs]` or None, a further unit with which each goes.
    """

    columns: np.ndarray
    units: np.ndarray
    index: np.ndarray
    shares: np.ndarray
    also: np.ndarray | None = None

    def kept(self, keep):
        """Which of its inputs stay: a bool array."""
        kept = keep[self.units]
        return kept if self.also is None else kept & keep[self.also]


@dataclasses.dataclass(eq=False)
class Reader:
    """A weight that reads channels of which some are cut.

    Attributes:
        name: string, its layer's name and its own.
        weight: `keras.Variable`.
        tensors: list of the `Tensor`s that it reads, one for each call; or of the calls
            themselves, if there is a `probe`.
        windows: list of `Window`s, likewise, if the columns are those of patches; or
            None: then they are the channels.
        slices: list of `Slice`s, one for each group of a grouped convolution.
        constant: `Constant` or None.
        probe: layer that, called in its layer's place, shows what it reads inside; or
            None.
    """

    name: str
    weight: Any
    tensors: list
    windows: list | None
    slices: list
    constant: Constant | None
    probe: Any = None

    def reads(self, changes):
        """Whether what it reads changes, as `Changes` says."""
        tensors = () if self.probe is not None else self.tensors
        return any(id(tensor) in changes.tensors for tensor in tensors)

    def reads_all_of(self, record, weight):
        """Whether it stands for all axes along which a weight loses channels."""
        same = self.weight is record.weight(weight)
        return same and any(part.also is not None for part in self.slices)


def find_readers(channel_graph, keep=None, changes=None):
    """Finds the weights that lose channels.

    Args:
        channel_graph: `ChannelGraph`.
        keep: bool `[num_units + 1]`, the units that stay; None: those are found that
            may lose any.
        changes: `Changes` or None; those are found too that read other values.

    Returns:
        List of `Reader`s; and a dict from the names of those that cannot read other
        channels instead to the reason.
    """
    found, left = [], {}
    for record in channel_graph.records.values():
        for weight, axis in ((w, a) for w, axes in record.gates.items() for a in axes):
            units = record.weights[weight][axis]
            loses = units.any() if keep is None else _some_go(units, keep)
            if not loses and (changes is None or not keep[units].any()):
                continue
            if keep is not None and found and found[-1].reads_all_of(record, weight):
                continue
            name = f"{record.layer.name}.{weight}"
            reader = _reader(channel_graph, record, name, weight, axis)
            if isinstance(reader, str):
                left.update({name: reader} if loses else {})
            elif loses or reader.reads(changes):
                found.append(reader)
    return found, left


def layers_of(channel_graph, left):
    """Names of the layers of which no weight can read other channels instead."""
    return {
        record.layer.name
        for record in channel_graph.records.values()
        if record.gates
        and all(f"{record.layer.name}.{weight}" in left for weight in record.gates)
    }


def loses(reader, keep):
    """Whether a `Reader` loses channels, but not all of them.

    Args:
        reader: `Reader`.
        keep: bool `[num_units + 1]`, the units that stay.
    """
    kept = np.concatenate([part.kept(keep) for part in reader.slices])
    return not kept.all() and kept.any()


def _some_go(units, keep):
    # Without any channel, the layer is gone.
    return keep[units].any() and not keep[units].all()


def _reader(channel_graph, record, name, weight, axis):
    """A `Reader`, or why there is none."""
    layer, graph = record.layer, channel_graph.graph
    calls = [call for call in graph.calls if call.operation is layer]
    inside = find_inside(record, weight, axis)
    if inside is not None:
        return inside if isinstance(inside, str) else _inner(record, inside, calls)
    if type(layer) is layers.EinsumDense and len(_added_up(layer)) > 1:
        return "it adds up over several axes"
    if type(layer) not in _LINEAR:
        return f"what a {type(layer).__name__} computes with it is not known"
    if any(len({id(t) for t in call.data}) > 1 for call in calls):
        return "the layer has several inputs"
    tensors = [call.data[0] for call in calls]
    labels = [channel_graph.labels[id(t)] for t in tensors]
    mixed = any(id(t) in channel_graph.hidden for t in tensors)
    if mixed or any(sum(d > 1 for d in found.shape) != 1 for found in labels):
        return "the channels are not laid out along one axis"
    held = labels[0].reshape(-1)
    groups = getattr(layer, "groups", 1)
    variable = record.weight(weight)
    if groups * variable.shape[axis] != len(held):
        return "the channels are not laid out along the axis of its kernel"
    windows = None
    if type(layer) in _CONVOLUTIONS:
        windows = [Window(layer, _spatial(layer, tensor)) for tensor in tensors]
    flat = np.arange(math.prod(variable.shape)).reshape(variable.shape)
    flat = np.moveaxis(flat, axis, 0)
    taps = math.prod(layer.kernel_size) if windows else 1
    if windows and (
        len(flat) * taps > MOST_INPUTS or not all(w.known for w in windows)
    ):
        shares, windows = windows[0].inside(), None
        slices = _of_channels(flat, held, groups, shares)
    elif windows:
        slices = _of_patches(flat, held, groups, taps)
    elif len(held) <= MOST_INPUTS or type(layer) in _TRANSPOSED:
        slices = _of_channels(flat, held, groups, np.ones(1))
    else:
        slices = _of_places(flat, held)
        if slices is None:
            return "its channels stand at different numbers of places"
    constant = _constant(graph, layer, weight, axis, calls)
    return Reader(name, variable, tensors, windows, slices, constant)


def _inner(record, inside, calls):
    """The `Reader` of a weight that reads what its layer makes inside."""
    variable = record.weight(inside.weight)
    flat = np.arange(math.prod(variable.shape)).reshape(variable.shape)
    first = list(range(inside.axis, inside.axis + inside.inputs))
    flat = np.moveaxis(flat, first, list(range(inside.inputs)))
    index = flat.reshape(len(inside.units), -1)
    columns = np.arange(len(inside.units))[None]
    constant = None
    if inside.bias is not None:
        constant = Constant(inside.bias, inside.place, 1.0)
    return Reader(
        f"{record.layer.name}.{inside.weight}",
        variable,
        calls,
        None,
        [Slice(columns, inside.units, index, np.ones(1), inside.also)],
        constant,
        inside.probe,
    )


def _added_up(layer):
    """The letters of an equation that only input and kernel have."""
    given, kernel, result = re.split(",|->", layer.equation)
    return {*given} & {*kernel} - {*result} - {"."}


def _groups(flat, held, groups):
    """Columns, units and index `[channels, ..., outputs]` of each group."""
    outputs = np.array_split(flat, groups, axis=-1)
    columns = np.array_split(np.arange(len(held)), groups)
    return [(c, held[c], out) for c, out in zip(columns, outputs, strict=True)]


def _of_channels(flat, held, groups, shares):
    """Each channel is an input; the taps of a kernel are further outputs."""
    return [
        Slice(columns[None], units, index.reshape(len(units), -1), shares)
        for columns, units, index in _groups(flat, held, groups)
    ]


def _of_patches(flat, held, groups, taps):
    """Each channel at each tap is an input, as in the columns of patches."""
    found = []
    for columns, units, index in _groups(flat, held, groups):
        places = (np.arange(taps)[:, None] * len(held) + columns).reshape(-1)
        index = index.reshape(len(units), taps, -1).swapaxes(0, 1)
        index = index.reshape(len(places), -1)
        found.append(Slice(places[None], np.tile(units, taps), index, np.ones(1)))
    return found


def _of_places(flat, held):
    """A flattened image: the places of one unit share their coefficients.

    Returns None if units stand at different numbers of places.
    """
    labels, counts = np.unique(held, return_counts=True)
    counts = counts[labels > 0]
    if (counts != counts[0]).any():
        return None
    order = np.argsort(held, kind="stable")[(held == 0).sum() :]
    columns = order.reshape(-1, counts[0])  # [units, places]
    units = held[columns[:, 0]]
    index = flat[columns].reshape(len(units), -1)
    return [Slice(columns.T, units, index, np.ones(counts[0]))]


def _spatial(layer, tensor):
    """The shape of an image without its channels."""
    first = 2 if layer.data_format == "channels_first" else 1
    return tensor.shape[first : first + layer.rank]


def _constant(graph, layer, weight, axis, calls):
    """The `Constant` of a weight; None where nothing takes it."""
    if type(layer) in (*_TRANSPOSED, *_WITH_STATES):
        return None  # in between strides and at borders, fewer taps meet
    shape = list(find_weight(layer, weight).shape)
    del shape[axis]
    wanted = tuple(shape[getattr(layer, "rank", 0) :])
    bias = getattr(_owner(layer, weight), "bias", None)
    if bias is not None:
        if tuple(bias.shape) == wanted:
            return Constant(bias, ..., 1.0)
        if tuple(bias.shape[1:]) == wanted and "cell." in weight:
            return Constant(bias, 0, 1.0)  # GRU: of the input, of the state
        return None
    normalization = _normalization(graph, layer, calls)
    if normalization is None or tuple(normalization.moving_mean.shape) != wanted:
        return None
    return Constant(normalization.moving_mean, ..., -1.0)


def _owner(layer, weight):
    """The layer that holds a weight itself: this one, or one inside it."""
    return find_weight(layer, weight.rpartition(".")[0]) if "." in weight else layer


def _normalization(graph, layer, calls):
    """The BatchNormalization that alone reads a linear layer's output, and no other."""
    if getattr(layer, "activation", None) not in (None, keras.activations.linear):
        return None
    outputs = {id(t) for call in calls for t in call.outputs}
    readers = [c for c in graph.calls if any(id(t) in outputs for t in c.inputs)]
    operations = {id(c.operation): c.operation for c in readers}
    if len(operations) != 1 or type(readers[0].operation) is not (
        layers.BatchNormalization
    ):
        return None
    found = readers[0].operation
    own = [c for c in graph.calls if c.operation is found]
    times = graph.readers()
    if len(own) != len(readers) or any(times[key] != 1 for key in outputs):
        return None
    axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
    ndim = len(own[0].inputs[0].shape)
    return found if found.axis % ndim == axis % ndim else None
