"""Normalisation with weighted statistics, in few passes over the activation.

Normalising costs what reading and writing the activation costs. Differentiated
operation by operation it is read some ten times more often than it has to be, so that
the gradient is written out here.
"""

import functools
import math

import keras
from keras import ops


def standardized(x, shares, axes, epsilon, gamma=None, beta=None, centered=True):
    """`gamma (x - mean) / sqrt(variance + epsilon) + beta`.

    Args:
        x: float tensor.
        shares: tensor that can be broadcast to it: how much each element counts in a
            mean. Their sum along `axes` is 1 (or 0, where nothing counts).
        axes: list of ints from 0 on, along which the means are taken.
        epsilon: float.
        gamma, beta: tensors that can be broadcast to `x`, of the same rank, or None.
        centered: bool; if false, the mean is taken to be 0.

    Returns:
        Tensor like `x`.

    The gradient. With `y = (x - m) r`, `r = (v + epsilon)^(-1/2)`, `m = sum s x`,
    `v = sum s (x - m)^2`, sums along `axes`, and `e` the loss's gradient with respect
    to `y`: that with respect to `m` is `-r A`, `A = sum e`, as `v` does not follow `m`;
    that with respect to `v` is `-r^2 B / 2`, `B = sum e y`. So

        dx = r (e - s (A + y B)),    ds = -y (A + y B / 2),

    the latter but for a term that is the same for all elements, which does not count
    where the shares' sum is fixed. Where the mean is taken to be 0, A is 0.
    """
    gamma = ops.ones((1,) * len(x.shape), x.dtype) if gamma is None else gamma
    beta = ops.zeros((1,) * len(x.shape), x.dtype) if beta is None else beta

    @ops.custom_gradient
    def run(x, shares, gamma, beta):
        y = x - _weighted(x, shares, axes) if centered else x
        root = ops.rsqrt(_weighted(ops.square(y), shares, axes) + epsilon)
        y = y * root

        def gradient(*args, upstream=None):
            by_out = args[0] if upstream is None else upstream
            product = by_out * y
            b = _weighted(product, gamma, axes)
            back = y * b
            if centered:
                a = _weighted(by_out, gamma, axes)
                back = back + a
                by_shares = 0.5 * _collected(y * (back + a), shares)
            else:
                by_shares = 0.5 * _collected(y * back, shares)
            by_x = root * (by_out * gamma - shares * back)
            by_gamma, by_beta = _collected(product, gamma), _collected(by_out, beta)
            return by_x, -by_shares, by_gamma, by_beta

        return y * gamma + beta, gradient

    return run(x, shares, gamma, beta)


def _weighted(x, weights, axes):
    """`sum weights x` along axes, which are kept with size 1."""
    if not (axes == [len(x.shape) - 1] and _along_last(weights)):
        return ops.sum(x * weights, axis=axes, keepdims=True)
    found = ops.matmul(_flat(x), ops.reshape(weights, (-1, 1)))
    return ops.reshape(found, (*ops.shape(x)[:-1], 1))


def _collected(x, like):
    """`x`, summed along the axes along which `like` has one element for all."""
    if _along_last(like):
        flat = _flat(x)
        ones = ops.ones((1, ops.shape(flat)[0]), x.dtype)
        return ops.reshape(ops.matmul(ones, flat), like.shape)
    axes = [axis for axis, size in enumerate(like.shape) if size == 1]
    return ops.sum(x, axis=axes, keepdims=True)


def _flat(x):
    return ops.reshape(x, (-1, x.shape[-1]))


def _along_last(weights):
    """Whether a product of matrices adds up what these weights are multiplied with."""
    last = weights.shape[-1] > 1 and math.prod(weights.shape[:-1]) == 1
    return last and _exact_products()


@functools.cache
def _exact_products():
    """Whether products of matrices keep all digits, which accelerators' do not."""
    if keras.backend.backend() not in ("tensorflow", "jax"):
        return True
    devices = keras.distribution.list_devices()
    return all(device.startswith("cpu") for device in devices)
