"""Inputs, outputs, targets and weights in whatever form: `fit` learns what Keras does.

The judge is Keras' own `fit` of the compact model, which starts from the same weights.
"""

import keras
import numpy as np
import pytest
from keras import layers

import tf_lossprune

rng = np.random.default_rng(0)
X = rng.normal(size=(48, 6)).astype("float32")
Y = rng.integers(0, 3, 48)
VALUES = rng.normal(size=(48, 1)).astype("float32")
WEIGHTS = rng.uniform(0, 2, 48).astype("float32")
OUTPUTS = {
    "bare": lambda o, v: o,
    "list": lambda o, v: [o],
    "dict": lambda o, v: {"classes": o},
    "two": lambda o, v: [o, v],
    "names": lambda o, v: {"classes": o, "value": v},
    "tuple": lambda o, v: (o, v),
}


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(inputs, outputs):
    keras.utils.set_random_seed(1)
    x = keras.Input((6,), name="x")
    y = layers.Dense(16, "relu", kernel_regularizer="l2")(x)
    y = layers.BatchNormalization()(layers.Dense(16, "relu")(y))
    given = {"bare": x, "list": [x], "dict": {"x": x}}[inputs]
    heads = layers.Dense(3, name="classes")(y), layers.Dense(1, name="value")(y)
    return keras.Model(given, OUTPUTS[outputs](*heads))


LONG = pytest.mark.long
CASES = [
    ("list", "list", cross_entropy, Y, {"sample_weight": WEIGHTS}),
    pytest.param("bare", "bare", cross_entropy, Y[:, None], {}, marks=LONG),
    pytest.param(
        "bare",
        "list",
        cross_entropy,
        Y,
        {"class_weight": {0: 1, 1: 2, 2: 3}},
        marks=LONG,
    ),
    pytest.param("dict", "list", cross_entropy, [Y], {}, marks=LONG),
    pytest.param(
        "dict",
        "dict",
        lambda: {"classes": cross_entropy()},
        {"classes": Y},
        {},
        marks=LONG,
    ),
    pytest.param(
        "bare", "two", lambda: [cross_entropy(), None], [Y, VALUES], {}, marks=LONG
    ),
    pytest.param(
        "bare",
        "names",
        lambda: {"classes": cross_entropy(), "value": "mse"},
        {"classes": Y, "value": VALUES},
        {},
        marks=LONG,
    ),
    pytest.param(
        "bare",
        "tuple",
        lambda: (cross_entropy(), "mse"),
        (Y, VALUES),
        {"sample_weight": (WEIGHTS, WEIGHTS)},
        marks=LONG,
    ),
]


@pytest.mark.parametrize(("inputs", "outputs", "loss", "targets", "options"), CASES)
def test_fit_learns_what_keras_does(inputs, outputs, loss, targets, options):
    pruned = tf_lossprune.prune_model(
        network(inputs, outputs),
        {"params": 0.6},
        method="uniform",
        repair=None,
        distill=False,
        schedule=tf_lossprune.Schedule(statistics_batches=0),
    )
    compact = tf_lossprune.strip_pruning(pruned, check=False)
    histories = []
    for model in (compact, pruned):
        model.compile(keras.optimizers.SGD(0.05), loss())
        given = {"x": X} if inputs == "dict" else X
        form = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}
        histories.append(model.fit(given, targets, **form, **options).history)
    for name, expected in histories[0].items():
        np.testing.assert_allclose(
            histories[1][name], expected, rtol=1e-4, err_msg=name
        )
    found = tf_lossprune.strip_pruning(pruned, check=False).get_weights()
    for a, b in zip(found, compact.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
