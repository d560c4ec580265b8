"""Dense layers: consume and produce along one axis."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.convolution import activation_name, consumed, produce
from tf_lossprune.graph.rules.elementwise import mixes_channels
from tf_lossprune.graph.rules.registry import register_rule


@register_rule(keras.layers.Dense, effect="prunes")
def dense(ctx, layer):
    channels = consumed(ctx, -1)
    out = ctx.fresh(layer.units)
    ctx.weight("kernel", {0: channels, 1: out}, ctx.output_positions())
    ctx.gate("kernel", 0)
    ctx.config("units", out)
    produce(ctx, layer, out, -1)


@register_rule(
    keras.layers.EinsumDense,
    effect="prunes",
    remark="along one axis of the kernel that only the output has",
)
def einsum_dense(ctx, layer):
    """Reads off the equation what each axis of the kernel stands for.

    An axis that only input and kernel have is consumed, one that only kernel and
    output have is produced, one that all three have holds a weight per channel.
    """
    given, kernel, result = _letters(ctx, layer.equation)
    _release_other_axes(ctx, given, kernel)
    axes, carried = {}, {}
    produced = [c for c in kernel if c in result and c not in given]
    for axis, letter in enumerate(kernel):
        if letter in given:
            axes[axis] = consumed(ctx, given.index(letter) - 1)
            if letter in result:
                carried[letter] = axes[axis]
            elif axes[axis].any():
                ctx.gate("kernel", axis)
    if len(produced) == 1 and not any(v.any() for v in carried.values()):
        size = layer.kernel.shape[kernel.index(produced[0])]
        carried[produced[0]] = axes[kernel.index(produced[0])] = ctx.fresh(size)
    shared = [axis for axis, c in enumerate(result[1:]) if c in kernel]
    ctx.weight("kernel", axes, ctx.positions(ctx.call.outputs[0], shared))
    labels = np.zeros((1,) * (len(result) - 1), int)
    for letter, values in carried.items():
        if values.any():
            labels = _carry(ctx, layer, result, result.index(letter), values)
    ctx.output(labels)


def _letters(ctx, equation):
    """The letters of input, kernel and output, with those of "..." filled in."""
    left, result = equation.replace(" ", "").split("->")
    given, kernel = left.split(",")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    missing = len(ctx.inputs[0].shape) - len(given.replace("...", ""))
    filling = "".join(spare[:missing])
    return tuple(part.replace("...", filling) for part in (given, kernel, result))


def _release_other_axes(ctx, given, kernel):
    """Freezes an input whose channels lie along an axis the kernel does not have."""
    for axis, letter in enumerate(given[1:]):
        if ctx.varies(axis) and letter not in kernel:
            ctx.freeze_input(0, "its channels are not laid out along the kernel's axis")


def _carry(ctx, layer, result, place, values):
    """Declares bias, config and output labels for channels along one output axis."""
    from_right = len(result) - place
    if layer.bias is not None:
        axis = len(layer.bias.shape) - from_right
        if axis >= 0 and layer.bias.shape[axis] > 1:
            ctx.weight("bias", {axis: values})
    asked = layer.partial_output_shape
    entry = len(asked) - from_right
    if entry >= 0 and asked[entry] is not None:

        def shape(kept):
            return (*asked[:entry], int(kept.sum()), *asked[entry + 1 :])

        ctx.config("output_shape", values, shape)
    if mixes_channels(layer.activation):
        ctx.freeze(values, f"activation {activation_name(layer)} mixes channels")
    return lb.on_axis(values, place - 1, len(result) - 1)
