"""A network of two groups that learns within seconds, and what to train it with."""

import keras
import numpy as np

import tf_lossprune

layers = keras.layers

SHARE = 0.5
BATCH = 16
#: Of four steps each: one of warm-up, two of search, one of fine-tuning.
EPOCHS = 4
STEPS = 4


def network(dropout=0.0, width=16, norm=True, activation="relu", **options):
    """Dense layers, with a normalisation or not; `options` go to every layer."""
    inputs = keras.Input((8,), name="features")
    x = layers.Dense(width, use_bias=False, name="first", **options)(inputs)
    if norm:
        x = layers.BatchNormalization(name="norm", **options)(x)
    x = layers.ReLU(name="relu", **options)(x)
    x = layers.Dropout(dropout, name="dropout", **options)(x)
    x = layers.Dense(width, activation=activation, name="second", **options)(x)
    x = layers.Dense(4, name="head", **options)(x)
    return keras.Model(inputs, x, name="small")


def data(count=BATCH * STEPS):
    """Samples whose label can be learned."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 8)).astype("float32")
    return x, (x @ rng.normal(size=(8, 4))).argmax(1)


def schedule(**options):
    """The phases as `EPOCHS` says."""
    return tf_lossprune.Schedule(**{"warmup": 0.25, "search": 0.5, **options})


def prune(model, **options):
    """Wraps a network for half of its MACs; ratios that move fast."""
    given = {
        "schedule": schedule(),
        "ratio_optimizer": keras.optimizers.Adam(0.05),
        "channel_multiple": 1,
        **options,
    }
    return tf_lossprune.prune_model(model, {"macs": SHARE}, **given)


def compile_model(model, optimizer=None, **options):
    """Compiles a network for classification, without XLA."""
    model.compile(
        optimizer or keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **{"metrics": ["accuracy"], "jit_compile": False, **options},
    )
    return model


def fit(model, epochs=EPOCHS, **options):
    """Trains on the same batches in the same order; returns the history."""
    x, y = data()
    given = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    return model.fit(given.pop("x", x), given.pop("y", y), epochs=epochs, **given)


def state(pruned):
    """All that training changes in a pruned model, as a list of arrays."""
    own = {id(v) for v in pruned.teacher.variables} if pruned.teacher else ()
    variables = [v for v in pruned.variables if id(v) not in own]
    variables += pruned.ratio_optimizer.variables
    variables += pruned.optimizer.variables
    return [keras.ops.convert_to_numpy(v.value).copy() for v in variables]


def assert_same(expected, found):
    """Asserts that two lists of arrays are equal, bit by bit."""
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        np.testing.assert_array_equal(a, b, f"array {index}")
