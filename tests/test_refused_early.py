"""Whatever cannot work is refused before the training, and what `fit` takes works."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_lossprune

rng = np.random.default_rng(0)
X = rng.normal(size=(32, 6)).astype("float32")
Y = rng.integers(0, 3, 32)


def network(outputs=3):
    inputs = keras.Input((6,), name="features")
    x = layers.Dense(12, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(outputs, name="head")(x))


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Steps(keras.callbacks.Callback):
    """Counts training steps."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


def compress(model=None, train=(X, Y), validation=None, **options):
    model = network() if model is None else model
    steps = Steps()
    given = {
        "epochs": 2,
        "batch_size": 8,
        "optimizer": "sgd",
        "loss": cross_entropy(),
        "verbose": 0,
        "callbacks": [steps],
        "jit_compile": False,
        "channel_multiple": 1,
    }
    before = model.get_weights()
    try:
        _, result = tf_lossprune.compress(
            model, {"params": 0.6}, train, validation, **{**given, **options}
        )
        return result, steps.count
    except Exception:
        assert steps.count == 0
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        raise


def with_numpy(y, p):
    return ops.mean(ops.abs(p - np.asarray(y).reshape(-1, 1)))


BAD = X.copy()
BAD[3, 2] = np.nan

REFUSED = {
    "unknown_loss": ({"loss": "cross"}, "cross"),
    "unknown_metric": ({"metrics": ["acuracy"]}, "acuracy"),
    "unknown_weighted_metric": ({"weighted_metrics": ["acuracy"]}, "acuracy"),
    "metrics_of_no_output": ({"metrics": {"tail": ["mae"]}}, "first batch fails"),
    "losses_of_no_output": ({"loss": {"tail": "mse"}}, "tail"),
    "loss_weights": ({"loss_weights": [1.0, 2.0]}, "weights"),
    "targets_of_another_shape": (
        {"train": (X, np.eye(5)[Y]), "loss": "categorical_crossentropy"},
        "shape",
    ),
    "several_targets": ({"train": (X, (Y, Y))}, "structure"),
    "inputs_of_another_shape": ({"train": (X[:, :4], Y)}, "features"),
    "inputs_too_many": ({"train": ((X, X), Y)}, "input"),
    "class_too_large": ({"train": (X, np.append(Y[:-1], 3))}, "0 to 2.*Received: 3"),
    "class_below_zero": ({"train": (X, Y - 1)}, "0 to 2.*Received: -1"),
    "nan": ({"train": (BAD, Y)}, "NaN.*inputs"),
    "nan_in_targets": (
        {"train": (X, np.full((32, 3), np.nan)), "loss": "mse"},
        "NaN.*targets",
    ),
    "custom_loss": ({"loss": lambda y, p: ops.reshape(p, (7, 7))}, "first batch fails"),
    "validation_of_another_shape": ({"validation": (X[:, :4], Y)}, ""),
    "class_weight_of_words": ({"class_weight": {"a": 1.0}}, "class_weight"),
    "class_weight_and_sample_weight": (
        {"class_weight": {0: 1.0}, "train": (X, Y, np.ones(32))},
        "not both",
    ),
    "class_weight_list": ({"class_weight": [1.0, 2.0]}, "dict such as"),
    "validation_freq": ({"validation_freq": 0}, "validation_freq"),
    "validation_split": ({"validation_split": 1.0}, "validation_split"),
    "unknown_option": ({"class_weigth": {0: 1.0}}, "did you mean 'class_weight'"),
    "sample_weight": ({"sample_weight": np.ones(32)}, "Received: .'sample_weight'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_the_training(name):
    options, words = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=f"(?s){words}"):
        compress(**{"distill": True, **options})


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs")
def test_a_loss_that_cannot_be_compiled_is_refused():
    with pytest.raises(ValueError, match="first batch fails"):
        compress(loss=with_numpy)


class Endless(keras.utils.PyDataset):
    """Batches without end."""

    num_batches = None

    def __getitem__(self, index):
        rows = np.arange(8 * index, 8 * index + 8) % 32
        return X[rows], Y[rows]


def generator():
    dataset = Endless()
    index = 0
    while True:
        yield dataset[index]
        index += 1


def repeated():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()


@pytest.mark.parametrize("make", [Endless, generator, repeated])
@pytest.mark.parametrize("method", ["loss", "uniform"])
def test_data_without_end(make, method):
    result, steps = compress(
        train=make(),
        validation=make(),
        batch_size=None,
        steps_per_epoch=3,
        validation_steps=2,
        method=method,
    )
    assert steps == 6
    assert result.dense["loss"] > 0 and result.compact["loss"] > 0


def test_a_method_that_plans_on_data_without_end():
    result, _ = compress(
        train=Endless(), batch_size=None, steps_per_epoch=3, method="netadapt"
    )
    assert result.compact["params"] <= 0.6 * result.dense["params"]


def test_all_that_fit_takes():
    result, steps = compress(
        weighted_metrics=["accuracy"],
        loss_weights=[2.0],
        class_weight={0: 1.0, 1: 3.0},
        validation_split=0.25,
        validation_batch_size=4,
        validation_freq=2,
        validation_steps=2,
        steps_per_epoch=2,
        shuffle=False,
    )
    assert steps == 4
    assert "accuracy" in result.compact and "accuracy" in result.dense


def test_class_weights_weigh_the_fine_tuning():
    """Samples of a class of weight 0 have no say."""
    found = []
    for form in ("arrays", "dataset"):
        for label in (1, 2):  # both have the weight 0
            y = np.where(Y > 0, label, 0)
            train = (X, y)
            if form == "dataset":
                tf = pytest.importorskip("tensorflow")
                train = tf.data.Dataset.from_tensor_slices(train).batch(8)
            keras.utils.set_random_seed(0)
            result, _ = compress(
                train=train,
                batch_size=8 if form == "arrays" else None,
                class_weight={0: 1.0, 1: 0.0, 2: 0.0},
                shuffle=False,
                method="uniform",
            )
            found.append(result.history["fine_tune"]["loss"])
    np.testing.assert_allclose(found, [found[0]] * 4, rtol=1e-4)
    # A class that is not named weighs 1, in a dataset too.
    compress(
        train=repeated(), batch_size=None, steps_per_epoch=2, class_weight={0: 2.0}
    )


def test_what_the_model_was_compiled_with_is_taken_over():
    model = network()

    def own(y, p):  # not registered: no config can name it
        return ops.mean(ops.square(p), -1)

    model.compile(
        keras.optimizers.SGD(0.125),
        cross_entropy(),
        loss_weights=[3.0],
        weighted_metrics=["accuracy", keras.metrics.MeanMetricWrapper(own, "own")],
    )
    rates = []

    class Rate(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    result, _ = compress(
        model,
        validation=(X, Y),
        loss=None,
        optimizer=None,
        callbacks=[Rate()],
        method="uniform",
    )
    assert set(rates) == {0.125}
    assert {"accuracy", "own"} <= set(result.compact)
    plain = network()
    plain.set_weights(model.get_weights())
    plain.compile("sgd", cross_entropy())
    wanted = 3.0 * plain.evaluate(X, Y, verbose=0)
    assert result.dense["loss"] == pytest.approx(wanted, rel=1e-4)
