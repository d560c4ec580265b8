"""Tests of the optimizer of the comparison protocol."""

import keras
import numpy as np
import pytest
from keras import ops

from examples.optimizers import cosine_sgd


def _train(optimizer, decay, steps):
    """Least squares with an L2 term in the gradient; returns the weights."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(64, 8)).astype("float32")
    y = rng.normal(size=64).astype("float32")
    weights = keras.Variable(2.0 * np.ones(8, "float32"), name="weights")
    optimizer.build([weights])
    for _ in range(steps):
        error = ops.matmul(a, weights) - y
        gradient = 0.01 * ops.matmul(ops.transpose(a), error) / 64 + decay * weights
        optimizer.apply([gradient], [weights])
    return ops.convert_to_numpy(weights)


def test_decay_is_that_of_the_coupled_recipe():
    decay, steps = 0.05, 300
    coupled = _train(cosine_sgd(steps, weight_decay=0.0), decay, steps)
    ours = _train(cosine_sgd(steps, weight_decay=decay), 0.0, steps)
    beside_momentum = keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.05, steps),
        momentum=0.9,
        nesterov=True,
        weight_decay=decay,
    )
    naive = _train(beside_momentum, 0.0, steps)
    # Up to the momentum's delay; the number as it stands is far too weak.
    error = np.abs(ours - coupled).max()
    assert error < 0.03
    assert np.abs(naive - coupled).max() > 20 * error


def test_rate_falls_to_zero():
    rate = cosine_sgd(10, learning_rate=0.05).learning_rate
    optimizer = cosine_sgd(10, learning_rate=0.05)
    assert np.isclose(float(rate), 0.05)
    variable = keras.Variable(1.0)
    optimizer.build([variable])
    for _ in range(10):
        optimizer.apply([ops.ones(())], [variable])
    assert np.isclose(float(optimizer.learning_rate), 0.0)


def test_without_momentum_or_decay():
    optimizer = cosine_sgd(10, momentum=0.0, weight_decay=0.0)
    assert not optimizer.nesterov
    assert optimizer.weight_decay is None


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 9, "momentum": 1.0}])
def test_wrong_values(wrong):
    with pytest.raises(ValueError, match="Received: "):
        cosine_sgd(**wrong)
