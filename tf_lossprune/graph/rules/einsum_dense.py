"""`EinsumDense`: its equation says what each axis of the kernel stands for."""

import math

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.letters import filled, spread
from tf_lossprune.graph.rules.convolution import activation_name
from tf_lossprune.graph.rules.elementwise import mixes_channels
from tf_lossprune.graph.rules.registry import register_rule


@register_rule(
    keras.layers.EinsumDense,
    effect="prunes",
    remark="along one of the axes that only kernel and output have",
    any_layout=True,
)
def einsum_dense(ctx, layer):
    """What only input and kernel have is consumed, what kernel and output have is made.

    Channels along an axis that all three have, or that the kernel does not have, pass:
    an element of the output then goes with them, and not with one that is made.
    """
    rank = len(ctx.inputs[0].shape)
    (given, kernel), result = filled(layer.equation, [rank, len(layer.kernel.shape)])
    if ctx.batch_axis() != 0 or given[0] != result[0] or given[0] in kernel:
        ctx.freeze_all("its equation moves the batch, or adds it up")
        return
    sizes = dict(zip(given, ctx.inputs[0].sizes))
    sizes |= dict(zip(kernel, layer.kernel.shape))
    ctx.call.outputs[0].sizes = tuple(sizes[c] for c in result)
    given, result = given[1:], result[1:]
    varying = [given[axis] for axis in lb.varying(ctx.input_labels[0])]
    if any(c not in kernel and c not in result for c in varying):
        ctx.freeze_input(0, "it adds up over them without a kernel")
        ctx.input_labels[0] = np.zeros((1,) * (rank - 1), int)
    passing = [c for c in varying if c in result]
    if passing:
        made = _pass(ctx, layer, (given, kernel, result), passing[0])
    else:
        made = _produce(ctx, layer, (given, kernel, result))
    made = _declare_bias(ctx, layer, made)
    _declare_shape(ctx, layer, made)
    if mixes_channels(layer.activation):
        ctx.freeze(made, f"activation {activation_name(layer)} mixes channels")
        made = np.zeros((1,) * made.ndim, int)
    ctx.output(made)


def _positions(ctx, kernel, result):
    """How often each entry of the kernel is used."""
    used = [axis for axis, c in enumerate(result) if c in kernel]
    return ctx.positions(ctx.call.outputs[0], used)


def _pass(ctx, layer, letters, letter):
    """Channels along `letter` stay what they are; returns the output's labels."""
    given, kernel, result = letters
    place, labels = given.index(letter), ctx.input_labels[0]
    labels = ctx.tie(labels, [k for k in lb.varying(labels) if k != place])
    positions = _positions(ctx, kernel, result)
    if letter in kernel:
        ctx.weight("kernel", {kernel.index(letter): labels.reshape(-1)}, positions)
    else:
        ctx.weight("kernel", {})
        total = positions * math.prod(layer.kernel.shape)
        ctx.products(total / labels.size, labels)
    return spread(labels, given, result)


def _produce(ctx, layer, letters):
    """New labels for all axes that only kernel and output have."""
    given, kernel, result = letters
    sizes = dict(zip(kernel, layer.kernel.shape))
    shape = [sizes[c] if c in kernel and c not in given else 1 for c in result]
    made = ctx.fresh(math.prod(shape)).reshape(shape)
    read = [k for k, c in enumerate(kernel) if c in given and c not in result]
    new = [k for k, c in enumerate(kernel) if c not in given]
    axes = {
        tuple(read): spread(ctx.input_labels[0], given, [kernel[k] for k in read]),
        tuple(new): spread(made, result, [kernel[k] for k in new]),
    }
    axes = {key: labels for key, labels in axes.items() if key}
    ctx.weight("kernel", axes, _positions(ctx, kernel, result))
    if read:
        ctx.gate("kernel", tuple(read))
    return made if new else np.zeros((1,) * len(result), int)


def _declare_bias(ctx, layer, made):
    """Cuts the bias with the output; what it serves several of is tied."""
    if layer.bias is None:
        return made
    first = made.ndim - len(layer.bias.shape)
    cut = [
        k for k in lb.varying(made) if k >= first and layer.bias.shape[k - first] > 1
    ]
    if cut:
        made = ctx.tie(made, [k for k in lb.varying(made) if k not in cut])
        labels = made.reshape([made.shape[k] for k in cut])
        ctx.weight("bias", {tuple(k - first for k in cut): labels})
    return made


def _declare_shape(ctx, layer, made):
    asked = layer.partial_output_shape
    first = made.ndim - len(asked)
    cut = [k for k in lb.varying(made) if k >= first and asked[k - first] is not None]

    def shape(kept):
        new = list(asked)
        for axis in cut:
            new[axis - first] = lb.count_along(kept, axis)
        return tuple(new)

    if cut:
        ctx.config("output_shape", made, shape)
