"""Layers and operations that treat each element alone: labels pass through."""

import keras

from tf_lossprune.graph.rules.registry import register_rule

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
    known = getattr(activation, "__module__", "").startswith("keras.")
    return not (known and name in ELEMENTWISE)


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
)


@register_rule(*_PASSING)
def passing(ctx, layer):
    ctx.output(*ctx.input_labels)


@register_rule(layers.Activation)
def activation(ctx, layer):
    if mixes_channels(layer.activation):
        ctx.freeze_all("this activation may mix channels")
    else:
        ctx.output(ctx.input_labels[0])


@register_rule(layers.Rescaling)
def rescaling(ctx, layer):
    if all(getattr(v, "ndim", 0) == 0 for v in (layer.scale, layer.offset)):
        if not any(isinstance(v, (list, tuple)) for v in (layer.scale, layer.offset)):
            ctx.output(ctx.input_labels[0])
            return
    ctx.freeze_all("Rescaling by a vector")


# The operations behind `keras.ops` functions and the operators of tensors.
@register_rule(
    "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Gelu", "Silu", "Sigmoid",
    "HardSigmoid", "HardSilu", "Softplus", "Softsign", "Tanh", "Exp", "Abs",
    "Absolute", "Negative", "Square", "Sqrt", "Clip", "Cast", "Sign", "Sin", "Cos",
)  # fmt: skip
def unary_operation(ctx, operation):
    if len(ctx.input_labels) == 1:
        ctx.output(ctx.input_labels[0])
    else:
        ctx.freeze_all("an operation with tensors for parameters")
