"""Layers and operations that treat each element alone: labels pass through."""

import keras
import numpy as np

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph import gated_calls
from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.merging import merge
from tf_lossprune.graph.rules.registry import find_rule, register_rule
from tf_lossprune.graph.symbolic_call import note_call

layers = keras.layers

ELEMENTWISE = {
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6",
    "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold",
}  # fmt: skip


def mixes_channels(activation):
    """Whether an activation function may look at more than one element."""
    if activation is None:
        return False
    if isinstance(activation, keras.layers.Layer):
        return type(activation) not in _PASSING
    name = getattr(activation, "__name__", "")
    if getattr(activation, "__module__", "").startswith("keras."):
        return name not in ELEMENTWISE
    return not _acts_on_elements(activation)


def _acts_on_elements(function):
    """Whether a function of the user's consists of operations on single elements."""
    x = keras.KerasTensor((None, 3, 5))
    layer = layers.Lambda(function, name="function")
    try:
        (call,) = note_call(layer, (x,), {}, False, lambda la: la.call).steps
        if call.body is None:
            return False
        (y,) = keras.tree.flatten(call.body.result)
    except Exception:  # whatever a function says to symbolic tensors
        return False
    return y.shape == x.shape and all(map(_is_elementwise, call.body.steps))


def _is_elementwise(step):
    rule = find_rule(step.operation)
    values = [x for x in keras.tree.flatten((step.args, step.kwargs)) if np.ndim(x)]
    return (
        rule is not None
        and rule.apply in (unary_operation, merge, activation)
        and not getattr(step.operation, "variables", ())
        and all(x.shape == y.shape for x in values for y in step.outputs)
    )


_PASSING = (
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.ActivityRegularization,
    layers.Identity,
    *internals.layers_of_applications("StochasticDepth"),
)


@register_rule(*_PASSING, any_layout=True)
def passing(ctx, layer):
    ctx.carry(each=True)


def across(ctx, axes, computation=None):
    """Passes labels on through a function that mixes elements along some axes.

    Args:
        ctx: `Context`.
        axes: iterable of axes of the whole batch along which it mixes elements.
        computation: what is computed of the kept channels where it mixes channels, as
            in `Context.gated_call`; None: these are frozen.

    Returns:
        Bool, whether they pass.
    """
    if not mixes(ctx, axes, computation):
        return False
    ctx.carry()
    return True


def mixes(ctx, axes, computation=None):
    """Gates a call that mixes channels along some axes, or freezes what it reads.

    Args: as `across`.

    Returns:
        Bool, whether channels pass or do not meet.
    """
    labels = ctx.labels_with_batch()
    if not any(labels.shape[axis] > 1 for axis in axes):
        return True
    floating = keras.backend.is_float_dtype(ctx.inputs[0].dtype)
    if computation is None or not floating:
        ctx.freeze_all("it mixes channels")
        return False
    ctx.gated_call(computation)
    return True


def axes_of(value, rank):
    """An `axis` argument (None, a number or several) as a tuple of axes."""
    if value is None:
        return tuple(range(rank))
    if isinstance(value, (tuple, list)):
        return tuple(value)
    return (value,)


@register_rule(layers.Activation, any_layout=True)
def activation(ctx, layer):
    if layer.activation is keras.activations.softmax:
        across(ctx, (-1,), gated_calls.softmax)
    elif mixes_channels(layer.activation):
        ctx.freeze_all("this activation may mix channels")
    else:
        ctx.carry(each=True)


@register_rule(layers.Softmax, remark="over the kept channels", any_layout=True)
def softmax(ctx, layer):
    rank = len(ctx.inputs[0].sample_shape)
    for mask in ctx.masks:
        sizes = (1,) * rank + mask.sample_shape
        if any(ctx.varies(axis) and sizes[axis - rank] != 1 for axis in range(rank)):
            ctx.freeze_all("its mask has an entry for each channel")
            return
    across(ctx, axes_of(layer.axis, rank + 1), gated_calls.softmax)


@register_rule(layers.PReLU)
def prelu(ctx, layer):
    for axis, size in enumerate(layer.alpha.shape):
        if size > 1 and ctx.varies(axis):
            channels = ctx.channels(axis=axis)
            if channels is None:
                ctx.output(np.zeros((), int))
                return
            ctx.weight("alpha", {axis: channels})
    ctx.output(ctx.input_labels[0])


@register_rule(layers.Rescaling)
def rescaling(ctx, layer):
    """A vector of factors runs along the last axis."""
    for key in ("scale", "offset"):
        value = getattr(layer, key)
        if np.ndim(value) == 0:
            continue
        channels = ctx.channels() if np.ndim(value) == 1 else None
        if channels is None:
            ctx.freeze_all("Rescaling by an array")
            return
        if len(value) > 1:
            ctx.config(key, channels, _chosen(value))
    ctx.output(ctx.input_labels[0])


def _chosen(values):
    values = np.asarray(values)
    return lambda kept: values[kept].tolist()


# The operations behind `keras.ops` functions and the operators of tensors.
@register_rule(
    "Abs", "Absolute", "Angle", "Arccos", "Arccosh", "Arcsin", "Arcsinh", "Arctan",
    "Arctanh", "BitwiseInvert", "BitwiseNot", "Cast", "Cbrt", "Ceil", "Celu", "Clip",
    "Conj", "Conjugate", "ConvertToTensor", "Copy", "Cos", "Cosh", "Deg2rad", "Elu",
    "EmptyLike", "Erf", "Erfc", "Erfinv", "Exp", "Exp2", "Expm1", "Fabs", "Floor",
    "FullLike", "Gelu", "HardShrink", "HardSigmoid", "HardSilu", "HardTanh", "I0",
    "Imag", "Isfinite", "Isinf", "Isnan",
    "Isneginf", "Isposinf", "Isreal", "LeakyRelu", "Log", "Log10", "Log1p", "Log2",
    "LogSigmoid", "LogicalNot", "Mish", "NanToNum", "Negative", "OnesLike",
    "Rad2deg", "ReLU", "Real",
    "Reciprocal", "Relu", "Relu6", "Round", "Rsqrt", "SaturateCast", "Selu", "Sigmoid",
    "Sign", "Signbit", "Silu", "Sin", "Sinc", "Sinh", "SoftShrink", "Softplus",
    "Softsign", "SparsePlus", "SparseSigmoid", "Sqrt", "Square", "Squareplus",
    "StopGradient", "Tan", "Tanh", "TanhShrink", "Threshold", "Trunc", "ZerosLike",
    any_layout=True,
)  # fmt: skip
def unary_operation(ctx, operation):
    if len(ctx.input_labels) == 1:
        constant = type(operation).__name__ in _CONSTANT
        ctx.carry(uniform=constant or ctx.uniform(), each=True)
    else:
        ctx.freeze_all("an operation with tensors for parameters")


_CONSTANT = ("EmptyLike", "FullLike", "OnesLike", "ZerosLike")


@register_rule("Tril", "Triu", remark="not along the channel axis", any_layout=True)
def triangle(ctx, operation):
    across(ctx, (-2, -1))


@register_rule(
    "Softmax", "LogSoftmax", remark="over the kept channels", any_layout=True
)
def softmax_operation(ctx, operation):
    logarithm = type(operation).__name__ == "LogSoftmax"
    computation = gated_calls.log_softmax if logarithm else gated_calls.softmax
    across(ctx, axes_of(operation.axis, len(ctx.inputs[0].shape)), computation)


@register_rule(
    "Sparsemax", "Cumsum", "Cumprod", "Sort", "Argsort", "Roll",
    remark="frozen along the channel axis",
    any_layout=True,
)  # fmt: skip
def along_an_axis(ctx, operation):
    if len(ctx.inputs) > 1:
        ctx.freeze_all("an operation with tensors for parameters")
        return
    axis = getattr(operation, "axis", -1)
    if axis is None:
        ctx.freeze_all("it flattens its input")
        return
    # Of a sum up to each channel, those before it that are cut are left out.
    computation = _CUMULATED.get(type(operation).__name__)
    across(ctx, axes_of(axis, len(ctx.inputs[0].shape)), computation)


_CUMULATED = {"Cumsum": gated_calls.gated_operand}


@register_rule("Glu")
def gated_linear_unit(ctx, operation):
    """The first half times the sigmoid of the second: channel i with channel i."""
    axis = ctx.sample_axis(operation.axis)
    if axis is None or not ctx.varies(axis):
        across(ctx, (operation.axis,))
        return
    channels = ctx.channels(axis=axis)
    if channels is None:
        ctx.output(np.zeros((), int))
        return
    first, second = np.split(channels, 2)
    ctx.unite(first, second)
    first = np.where((first == lb.FROZEN) | (second == lb.FROZEN), lb.FROZEN, first)
    ctx.output(lb.on_axis(first, axis, len(ctx.inputs[0].sample_shape)))
