"""Calls that mix channels without a kernel, computed over the kept channels only.

A rule gives one of these functions to `Context.gated_call`. They take

    operation: the layer or operation whose call it is.
    gates: float32 tensor that can be broadcast to the argument whose channels are
        gated, with a 1 for what always stays.
    *args, **kwargs: the call's own arguments.

With gates of 1 they compute what the operation does; with gates of 0 and 1, for the
channels that stay, what it does on these alone. What comes out for a channel whose
gate is 0 is finite and means nothing: whoever reads the channel gates it. They are
differentiable with respect to the gates, also through the statistics.

Statistics are taken in float32 at least, as Keras does.
"""

import keras
from keras import ops

from tf_lossprune.graph.standardizing import standardized

register = keras.saving.register_keras_serializable(package="tf_lossprune")

#: What the sum of gates is at least, where something is divided by it.
_SMALL = 1e-6


# Normalisation.


@register
def layer_normalization(layer, gates, x):
    """`keras.layers.LayerNormalization`: n = sum g, mean = sum g x / n, and so on."""
    y = _standardized(layer, gates, x, layer.gamma, layer.beta)
    return ops.cast(y, layer.compute_dtype)


@register
def layer_norm(operation, gates, x, gamma=None, beta=None):
    """`keras.ops.layer_normalization`."""
    return ops.cast(_standardized(operation, gates, x, gamma, beta), x.dtype)


def _standardized(operation, gates, x, gamma, beta):
    x, axis = _floating(x), operation.axis
    gamma = None if gamma is None else _on_axes(gamma, axis, x)
    beta = None if beta is None else _on_axes(beta, axis, x)
    epsilon = _epsilon(operation)
    if not operation.rms_scaling:
        return _normalized(x, gates, axis, epsilon, gamma, beta)
    # Of Keras' own making: no mean is taken off.
    factor = ops.rsqrt(_moments(x, gates, axis)[1] + epsilon)
    return x * (factor if gamma is None else factor * gamma)


@register
def rms_normalization(layer, gates, x):
    """`keras.layers.RMSNormalization`: the mean of squares is sum g x^2 / n."""
    scale = ops.cast(layer.scale, layer.compute_dtype)
    return ops.cast(_over_root_mean_square(layer, gates, x, scale), x.dtype)


@register
def rms_norm(operation, gates, x, scale=None):
    """`keras.ops.rms_normalization`."""
    return ops.cast(_over_root_mean_square(operation, gates, x, scale), x.dtype)


def _over_root_mean_square(operation, gates, x, scale):
    x, axis = _floating(x), operation.axis
    if scale is not None:  # it meets the last axes, whichever are mixed
        ones = (1,) * (len(x.shape) - len(scale.shape))
        scale = ops.reshape(ops.cast(scale, x.dtype), (*ones, *scale.shape))
    return _normalized(x, gates, axis, _epsilon(operation), scale, centered=False)


@register
def group_normalization(layer, gates, x):
    """`keras.layers.GroupNormalization` whose groups keep some of their channels."""
    rank = len(x.shape)
    axis = layer.axis % rank

    def split(v):
        sizes = ops.shape(v)
        parts = (layer.groups, sizes[axis] // layer.groups)
        return ops.reshape(v, (*sizes[:axis], *parts, *sizes[axis + 1 :]))

    y = _floating(x)
    weights = [
        None if w is None else split(_on_axes(w, axis, y))
        for w in (layer.gamma, layer.beta)
    ]
    axes = [a for a in range(1, rank + 1) if a != axis]
    y = _normalized(split(y), split(gates), axes, layer.epsilon, *weights)
    return ops.cast(ops.reshape(y, ops.shape(x)), layer.compute_dtype)


def _normalized(x, gates, axis, epsilon, gamma, beta=None, centered=True):
    """Normalised by the statistics of the kept channels."""
    shares, axes = _shares(x, gates, axis), sorted(_axes(axis, x))
    return standardized(x, shares, axes, epsilon, gamma, beta, centered)


@register
def unit_normalization(layer, gates, x):
    """`keras.layers.UnitNormalization`."""
    return _over_norm(x, gates, layer.axis, 2, 1e-12)


@register
def normalize(operation, gates, x):
    """`keras.ops.normalize`."""
    return _over_norm(x, gates, operation.axis, operation.order, _epsilon(operation))


def _over_norm(x, gates, axis, order, epsilon):
    y = _floating(x)
    if order == 2:
        total = _sum(ops.square(y), gates, axis)
        y = y * ops.minimum(ops.rsqrt(total), 1.0 / epsilon)
    else:
        total = _sum(ops.power(ops.abs(y), order), gates, axis)
        y = y / ops.maximum(ops.power(total, 1.0 / order), epsilon)
    return ops.cast(y, x.dtype)


@register
def softmax(operation, gates, x, mask=None):
    """Softmax as a layer, an activation or an operation; the first with a mask."""
    axis = getattr(operation, "axis", -1)  # `Activation` has none
    y = _floating(x)
    if mask is not None:
        mask = ops.cast(mask, "float32") > 0.5
        y = ops.where(mask, y, -1e9)
    distance, total = _exponentials(y, gates, axis)
    y = ops.exp(distance) / total
    y = y if mask is None else ops.where(mask, y, 0.0)
    return ops.cast(y, x.dtype)


@register
def log_softmax(operation, gates, x):
    """`keras.ops.log_softmax`."""
    distance, total = _exponentials(_floating(x), gates, operation.axis)
    return ops.cast(distance - ops.log(total), x.dtype)


def _exponentials(x, gates, axis):
    """How far each entry is below the largest one kept, and sum g exp(that)."""
    largest = ops.stop_gradient(_largest(x, gates, axis))
    # What is closed may be above.
    distance = ops.where(x > largest, 0.0, x - largest)
    return distance, ops.maximum(_sum(ops.exp(distance), gates, axis), 1e-30)


# Reductions.


@register
def reduced_sum(operation, gates, x):
    """`keras.ops.sum`."""
    found = _sum(_floating(x), gates, operation.axis)
    return _reduced(operation, gates, found, x)


@register
def reduced_mean(operation, gates, x):
    """`keras.ops.mean`."""
    found = _mean(_floating(x), gates, operation.axis)
    return _reduced(operation, gates, found, x)


@register
def reduced_variance(operation, gates, x):
    """`keras.ops.var`."""
    found = _moments(_floating(x), gates, operation.axis)[1]
    return _reduced(operation, gates, found, x)


@register
def reduced_deviation(operation, gates, x):
    """`keras.ops.std`."""
    found = _moments(_floating(x), gates, operation.axis)[1]
    return _reduced(operation, gates, ops.sqrt(found), x)


@register
def moments(operation, gates, x):
    """`keras.ops.moments`."""
    found = _moments(_floating(x), gates, operation.axes)
    return tuple(_reduced(operation, gates, v, x) for v in found)


@register
def log_sum_exp(operation, gates, x):
    """`keras.ops.logsumexp`."""
    y, axis = _floating(x), operation.axis
    total = _exponentials(y, gates, axis)[1]
    found = ops.log(total) + _largest(y, gates, axis)
    return _reduced(operation, gates, found, x)


@register
def norm(operation, gates, x):
    """`keras.ops.norm` of vectors, of order 1 or 2."""
    y = _floating(x)
    if operation.ord == 1:
        found = _sum(ops.abs(y), gates, operation.axis)
    else:
        found = ops.sqrt(_sum(ops.square(y), gates, operation.axis))
    return _reduced(operation, gates, found, x)


@register
def largest(operation, gates, x):
    """`keras.ops.max`; which one it is does not change with the gates smoothly."""
    return _reduced(operation, gates, _largest(x, gates, operation.axis), x)


@register
def smallest(operation, gates, x):
    """`keras.ops.min`, likewise."""
    return _reduced(operation, gates, -_largest(-x, gates, operation.axis), x)


def _reduced(operation, gates, value, x):
    """The output of a reduction: 1, a number to divide by, where no gate is open."""
    axes = _axes(getattr(operation, "axes", None) or operation.axis, x)
    open_ones = ops.sum(gates, axis=axes, keepdims=True)
    value = ops.where(open_ones > 0, value, 1.0)
    if not operation.keepdims:
        value = ops.squeeze(value, axes)
    return ops.cast(value, x.dtype)


# Products.


@register
def gated_operand(operation, gates, x, *others, **kwargs):
    """An operation that adds up over the channels of its first operand."""
    return operation(x * ops.cast(gates, x.dtype), *others, **kwargs)


@register
def spectral_normalization(layer, gates, x, training=None):
    """`keras.layers.SpectralNormalization` of a dense layer or a convolution.

    The gates are those of its inputs and of its outputs, one behind the other.
    """
    inner, kernel = layer.layer, layer.kernel
    given, made = ops.split(gates, [kernel.shape[-2]])
    if training:
        gated = kernel * ops.cast(given[:, None] * made, kernel.dtype)
        weights = ops.reshape(gated, (-1, kernel.shape[-1]))
        u = ops.convert_to_tensor(layer.vector_u)
        for _ in range(layer.power_iterations):
            v = _of_length_one(ops.matmul(u, ops.transpose(weights)))
            u = _of_length_one(ops.matmul(v, weights))
        sigma = ops.stop_gradient(v @ weights @ ops.transpose(u))
        sigma = ops.where(sigma == 0, 1.0, sigma)
        layer.vector_u.assign(ops.stop_gradient(u))
        layer.kernel.assign(kernel / ops.reshape(sigma, ()))
    axis = 1 if getattr(inner, "data_format", None) == "channels_first" else -1
    shape = [1] * len(x.shape)
    shape[axis] = kernel.shape[-2]
    y = inner(x * ops.cast(ops.reshape(given, shape), x.dtype))
    return ops.cast(y, x.dtype)


def _of_length_one(x):
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x)), 1e-24))


@register
def plain_attention(layer, gates, inputs, mask=None, **kwargs):
    """`keras.layers.Attention` and `AdditiveAttention`: scores add up over channels.

    A channel whose query and key are 0 adds nothing, also where the hyperbolic tangent
    of their sum is added up.
    """
    query, value, *key = inputs
    gates = ops.cast(gates, query.dtype)
    key = key[0] if key else value
    return layer([query * gates, value, key * gates], mask=mask, **kwargs)


# What all of them share.


def _floating(x):
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def _epsilon(operation):
    epsilon = operation.epsilon
    return keras.backend.epsilon() if epsilon is None else epsilon


def _axes(axis, x):
    """An `axis` argument as a list of numbers from 0 on; None means all."""
    rank = len(x.shape)
    if axis is None:
        return list(range(rank))
    several = isinstance(axis, (tuple, list))
    return [a % rank for a in (axis if several else [axis])]


def _on_axes(weight, axis, x):
    """A weight with an entry for each of these axes, so that it meets them."""
    shape = [1] * len(x.shape)
    for a in _axes(axis, x):
        shape[a] = x.shape[a]
    return ops.reshape(ops.cast(weight, x.dtype), shape)


def _sum(x, gates, axis):
    return ops.sum(x * ops.cast(gates, x.dtype), axis=axis, keepdims=True)


def _mean(x, gates, axis):
    return _sum(x, _shares(x, gates, axis), axis)


def _moments(x, gates, axis):
    shares = _shares(x, gates, axis)
    mean = _sum(x, shares, axis)
    distance = x - mean
    square = distance * (distance * shares)
    return mean, ops.sum(square, axis=axis, keepdims=True)


def _shares(x, gates, axis):
    """The gates over their sum along some axes of what they are broadcast to."""
    gates = ops.cast(gates, x.dtype)
    axes = _axes(axis, x)
    share = gates / ops.maximum(ops.sum(gates, axis=axes, keepdims=True), _SMALL)
    shape = ops.shape(x)
    for a in axes:
        if gates.shape[a] == 1:  # all along it count the same
            share = share / ops.cast(shape[a], x.dtype)
    return share


def _largest(x, gates, axis):
    half = keras.backend.standardize_dtype(x.dtype) == "float16"
    low = ops.cast(-6e4 if half else -1e30, x.dtype)
    return ops.max(ops.where(gates > 0, x, low), axis=axis, keepdims=True)
