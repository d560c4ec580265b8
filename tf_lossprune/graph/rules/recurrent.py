"""Recurrent layers: they consume, produce, and read their own output."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.record import InnerConfig
from tf_lossprune.graph.rules.convolution import consumed
from tf_lossprune.graph.rules.elementwise import mixes_channels
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers

_CELLS = (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)
_LAYERS = (layers.LSTM, layers.GRU, layers.SimpleRNN)
_CONVOLUTIONAL = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)


@register_rule(*_LAYERS, effect="prunes")
def recurrent(ctx, layer):
    (out,) = _directions(ctx, [("", layer)])
    ctx.config("units", out)
    ctx.output(*[out for _ in ctx.call.outputs])


@register_rule(*_CONVOLUTIONAL, effect="prunes")
def convolutional_recurrent(ctx, layer):
    (out,) = _directions(ctx, [("", layer)])
    ctx.config("filters", out)
    ctx.output(*[_laid_out(layer, out, t) for t in ctx.call.outputs])


@register_rule(layers.RNN, effect="prunes", remark="of Keras' cells, one or several")
def cells(ctx, layer):
    if _cells(layer) is None:
        ctx.freeze_all(
            "its cell is of your own, and what it does at each step is not looked "
            "into (Keras' cells are)"
        )
        return
    outs = _directions(ctx, [("", layer)])
    narrow = _narrowing(layer, outs)
    ctx.config("cell", np.concatenate(outs), lambda kept: narrow(kept)["cell"])
    states = [out for out in outs for _ in range(_states(layer, outs, out))]
    ctx.output(*[outs[-1], *states][: len(ctx.call.outputs)])


@register_rule(layers.Bidirectional, effect="prunes")
def bidirectional(ctx, layer):
    """Both directions read the same channels, and keep the same units.

    As many in both, Keras asks for: it takes what comes out for twice as wide.
    """
    parts = layer.forward_layer, layer.backward_layer
    found = [_cells(part) for part in parts]
    if None in found or any(type(p) is not type(parts[0]) for p in parts):
        ctx.freeze_all("Bidirectional around something of your own")
        return
    sizes = [[_size(cell) for _, cell in cells] for cells in found]
    if sizes[0] != sizes[1]:
        ctx.freeze_all("its directions have different numbers of units")
        return
    if getattr(layer.forward_layer.cell, "data_format", None) == "channels_first":
        ctx.freeze_all("it joins both directions along an axis of space")
        return
    outs = _directions(
        ctx, [("forward_layer.", parts[0]), ("backward_layer.", parts[1])]
    )
    kept_units = np.concatenate(outs)
    for key, part in zip(("layer", "backward_layer"), parts):
        ctx.config(key, kept_units, _narrowing(part, outs))
    out = outs[-1]
    first = {"concat": [np.concatenate([out, out])], None: [out, out]}
    made = first.get(layer.merge_mode, [out])
    states = [o for o in outs for _ in range(_states(parts[0], outs, o))]
    ctx.output(*[*made, *states, *states][: len(ctx.call.outputs)])


def _directions(ctx, parts):
    """Declares the cells of a recurrent layer, or of its two directions.

    One unit of a state is a row and a column in each of the cell's blocks. Zeroing its
    row of the recurrent kernel and its slices of the consumers takes it out of
    everything else, so that the gated layer computes what the smaller one does.

    Args:
        ctx: `Context`.
        parts: list of pairs, what the names of its weights begin with, and the layer.

    Returns:
        List with the labels of each cell's units, in both directions.
    """
    layer = parts[0][1]
    outs = [ctx.fresh(_size(cell)) for _, cell in _cells(layer)]
    channels_first = getattr(layer.cell, "data_format", None) == "channels_first"
    channels = consumed(ctx, 1 if channels_first else -1)
    positions = _positions(ctx, layer)
    for prefix, part in parts:
        given = channels
        for (path, cell), out in zip(_cells(part), outs):
            _declare(ctx, cell, f"{prefix}{path}", given, out, positions)
            given = out
    if layer.stateful:
        for out in outs:
            ctx.freeze(out, "a stateful layer makes it")
    states = [out for out in outs for _ in range(_states(layer, outs, out))]
    for index, out in enumerate(states * len(parts), start=1):
        if index < len(ctx.inputs):
            labels = _laid_out(layer, out, ctx.inputs[index])
            ctx.unite(labels, ctx.input_labels[index])
    return outs


def _declare(ctx, cell, path, channels, out, positions):
    """Declares the weights of a cell."""
    rank = getattr(cell, "rank", 0)
    blocks = np.tile(out, cell.kernel.shape[-1] // len(out))
    for name, given in (("kernel", channels), ("recurrent_kernel", out)):
        axes = {rank: given, rank + 1: blocks}
        ctx.weight(f"{path}.{name}", axes, positions)
        ctx.gate(f"{path}.{name}", rank)
    if cell.use_bias:
        ctx.weight(f"{path}.bias", {len(cell.bias.shape) - 1: blocks})
    functions = [cell.activation, getattr(cell, "recurrent_activation", None)]
    if any(mixes_channels(f) for f in functions):
        ctx.freeze(out, "its activation mixes channels")


def _positions(ctx, layer):
    """How often a sample is multiplied with each entry of a cell's kernels."""
    if type(layer) not in _CONVOLUTIONAL:
        return ctx.input_positions()
    # All sizes of the state but its channels, once for each time step.
    rank = layer.cell.rank
    time = 1 if layer.return_sequences else 0
    state_axis = time if layer.cell.data_format == "channels_first" else -1
    skipped = (0, state_axis) if time else (state_axis,)
    positions = ctx.positions(ctx.call.outputs[0], skipped)
    return positions * ctx.positions(ctx.inputs[0], range(1, rank + 2), batch=False)


def _laid_out(layer, out, tensor):
    """The labels of what a layer makes, or of a state."""
    if getattr(layer.cell, "data_format", None) != "channels_first":
        return out
    return lb.on_axis(out, -1 - layer.cell.rank, len(tensor.sample_shape))


def _cells(layer):
    """The cells in a recurrent layer, by path; None: they are not known."""
    if type(layer) in _CONVOLUTIONAL or type(layer) in _LAYERS:
        return [("cell", layer.cell)]
    if type(layer) is not layers.RNN:
        return None
    if type(layer.cell) is layers.StackedRNNCells:
        found = [(f"cell.cells.{i}", cell) for i, cell in enumerate(layer.cell.cells)]
    else:
        found = [("cell", layer.cell)]
    return found if all(type(cell) in _CELLS for _, cell in found) else None


def _size(cell):
    return getattr(cell, "units", None) or cell.filters


def _states(layer, outs, out):
    """How many state tensors the cell with these units has."""
    number = next(i for i, o in enumerate(outs) if o is out)
    cell = _cells(layer)[number][1]
    return 1 if type(cell) in (layers.GRUCell, layers.SimpleRNNCell) else 2


def _narrowing(layer, outs):
    """Function from which units are kept to what changes in the config of one layer."""

    def narrow(kept):
        ends = np.cumsum([len(out) for out in outs])[:-1]
        counts = [int(part.sum()) for part in np.split(kept, ends)]
        if type(layer) in _CONVOLUTIONAL:
            return InnerConfig(filters=counts[0])
        if type(layer) is not layers.RNN:
            return InnerConfig(units=counts[0])
        inner = [InnerConfig(units=count) for count in counts]
        if type(layer.cell) is layers.StackedRNNCells:
            return InnerConfig(cell=InnerConfig(cells=inner))
        return InnerConfig(cell=inner[0])

    return narrow
