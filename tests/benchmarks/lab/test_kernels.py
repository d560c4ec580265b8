"""The benchmarks' faster forms compute what Keras does."""

import subprocess
import sys

# In a process of its own: Keras' layers stay changed for good.
SCRIPT = """
import keras, numpy as np, tensorflow as tf
from benchmarks.lab import kernels

SHAPE = (5, 6, 7, 3)
rng = np.random.default_rng(0)
x = tf.constant(rng.normal(1.0, 2.0, SHAPE).astype("float32"))
by_y = tf.constant(rng.normal(size=SHAPE).astype("float32"))


def results():
    rng = np.random.default_rng(1)
    inputs = keras.Input(SHAPE[1:])
    normal = keras.layers.BatchNormalization(momentum=0.7, epsilon=0.01)
    strided = keras.layers.Conv2D(4, 1, strides=2)
    model = keras.Model(inputs, [normal(inputs), strided(inputs)])
    for v in model.weights:
        v.assign(rng.uniform(0.5, 1.5, v.shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, z = model(x, training=True)
        loss = tf.reduce_sum(y * by_y) + tf.reduce_sum(z * z)
    found = [y, z, *tape.gradient(loss, [x, *model.trainable_weights])]
    found += [normal.moving_mean.value, normal.moving_variance.value]
    return [v.numpy() for v in [*found, *model(x, training=False)]]


call = keras.layers.BatchNormalization.call
expected = results()
kernels.install()
kernels.install()
assert keras.layers.BatchNormalization.call is not call
actual = results()
for a, b in zip(expected, actual, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
# What they do not cover stays as it was.
layer = keras.layers.BatchNormalization(scale=False)
np.testing.assert_array_equal(layer(x, training=True), call(layer, x, training=True))
"""


def test_same_results():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
