"""Recurrent layers: they consume, produce, and read their own output."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.convolution import consumed
from tf_lossprune.graph.rules.elementwise import mixes_channels
from tf_lossprune.graph.rules.registry import register_rule

layers = keras.layers


@register_rule(layers.LSTM, layers.GRU, layers.SimpleRNN, effect="prunes")
def recurrent(ctx, layer):
    """One unit of the state is a row and a column in each of the cell's blocks.

    Zeroing its row of the recurrent kernel and its slices of the consumers takes
    it out of everything else, so that the gated layer computes what the smaller
    one does.
    """
    channels = consumed(ctx, -1)
    out = ctx.fresh(layer.units)
    cell = layer.cell
    blocks = np.tile(out, cell.kernel.shape[1] // layer.units)
    steps = ctx.input_positions()
    ctx.weight("cell.kernel", {0: channels, 1: blocks}, steps)
    ctx.gate("cell.kernel", 0)
    ctx.weight("cell.recurrent_kernel", {0: out, 1: blocks}, steps)
    ctx.gate("cell.recurrent_kernel", 0)
    if cell.use_bias:
        ctx.weight("cell.bias", {len(cell.bias.shape) - 1: blocks})
    ctx.config("units", out)
    functions = [cell.activation, getattr(cell, "recurrent_activation", None)]
    if any(mixes_channels(f) for f in functions):
        ctx.freeze(out, "its activation mixes channels")
    if layer.stateful:
        ctx.freeze(out, "a stateful layer makes it")
    for labels in ctx.input_labels[1:]:  # initial states
        ctx.unite(out, labels)
    ctx.output(*[out for _ in ctx.call.outputs])


@register_rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D, effect="cuts")
def convolutional_recurrent(ctx, layer):
    axis = 1 if layer.cell.data_format == "channels_first" else -1
    channels = consumed(ctx, axis)
    rank = layer.cell.rank
    # All sizes of the state but its channels, once for each time step.
    time = 1 if layer.return_sequences else 0
    state_axis = time if axis == 1 else -1
    skipped = (0, state_axis) if time else (state_axis,)
    positions = ctx.positions(ctx.call.outputs[0], skipped)
    positions *= ctx.positions(ctx.inputs[0], range(1, rank + 2), batch=False)
    ctx.weight("cell.kernel", {rank: channels}, positions)
    ctx.weight("cell.recurrent_kernel", {}, positions)
    ctx.gate("cell.kernel", rank)
    for index in range(1, len(ctx.inputs)):
        ctx.freeze_input(index, "it is a state of this layer")
    ctx.output(*[np.full((), lb.FROZEN) for _ in ctx.call.outputs])


@register_rule(layers.Bidirectional, effect="cuts")
def bidirectional(ctx, layer):
    """Both directions read the same channels; what they produce stays."""
    parts = (layer.forward_layer, layer.backward_layer)
    known = (layers.LSTM, layers.GRU, layers.SimpleRNN)
    if any(type(part) not in known for part in parts) or len(ctx.inputs) > 1:
        ctx.freeze_all("Bidirectional with states, or around something of your own")
        return
    channels = consumed(ctx, -1)
    steps = ctx.input_positions()
    for name in ("forward_layer", "backward_layer"):
        ctx.weight(f"{name}.cell.kernel", {0: channels}, steps)
        ctx.weight(f"{name}.cell.recurrent_kernel", {}, steps)
        ctx.gate(f"{name}.cell.kernel", 0)
    ctx.output(*[np.full((), lb.FROZEN) for _ in ctx.call.outputs])
