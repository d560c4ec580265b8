"""Normalisation whose gradient is written out: what differentiating it would give."""

import unittest.mock

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

from tf_lossprune.graph import standardizing

#: Shapes of shares, gamma and beta, the axes, and whether a mean is taken off.
CASES = {
    "layer_norm": ((1, 1, 8), (1, 1, 8), [2], True),
    "rms_norm": ((1, 1, 8), (1, 1, 8), [2], False),
    "layer_norm_of_all": ((1, 1, 8), (1, 5, 8), [1, 2], True),
    "first_axis": ((1, 5, 1), (1, 5, 1), [1], True),
    "each_step_by_itself": ((1, 5, 8), (1, 1, 1), [2], True),
}


def by_definition(x, gates, gamma, beta, axes, centered):
    shares = gates / ops.sum(gates, axis=axes, keepdims=True)
    count = np.prod([x.shape[a] for a in axes if gates.shape[a] == 1])
    shares = shares / float(count)
    if centered:
        x = x - ops.sum(shares * x, axis=axes, keepdims=True)
    variance = ops.sum(shares * ops.square(x), axis=axes, keepdims=True)
    return x / ops.sqrt(variance + 1e-3) * gamma + beta


def as_built(x, gates, gamma, beta, axes, centered):
    shares = gates / ops.sum(gates, axis=axes, keepdims=True)
    shares = shares / float(np.prod([x.shape[a] for a in axes if gates.shape[a] == 1]))
    return standardizing.standardized(x, shares, axes, 1e-3, gamma, beta, centered)


class StandardizedTest(parameterized.TestCase):
    @parameterized.named_parameters((name, *case) for name, case in CASES.items())
    def test_value_and_gradients(self, gates, weights, axes, centered):
        rng = np.random.default_rng(0)
        shapes = ((4, 5, 8), gates, weights, weights)
        values = [rng.uniform(0.2, 2.0, s).astype("float32") for s in shapes]
        wanted = gradients(by_definition, values, axes, centered)
        for exact in (True, False):  # by products of matrices, and without
            with unittest.mock.patch.object(
                standardizing, "_exact_products", lambda exact=exact: exact
            ):
                found = gradients(as_built, values, axes, centered)
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def gradients(function, values, axes, centered):
    """The output, and the gradients of the sum of its sine."""

    def loss(*values):
        return ops.sum(ops.sin(function(*values, axes, centered)))

    if keras.backend.backend() == "jax":
        import jax

        found = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*values)
    else:
        import tensorflow as tf

        tensors = [tf.constant(value) for value in values]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = loss(*tensors)
        found = tape.gradient(total, tensors)
    return [np.asarray(v) for v in (function(*values, axes, centered), *found)]
