"""The dense model teaches the compact one, unless it has nothing to say."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_lossprune

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 6)).astype("float32")
Y = np.argmax(X @ rng.normal(size=(6, 3)), -1)
HALF = tf_lossprune.Schedule(search=0.5)
LESSON = {"student_loss", "distillation_loss"}


def network(units=3, activation=None):
    inputs = keras.Input((6,))
    x = layers.Dense(16, "relu", kernel_regularizer=keras.regularizers.L2(0.01))(inputs)
    x = layers.Dense(16, "relu")(x)
    return keras.Model(inputs, layers.Dense(units, activation)(x))


@pytest.fixture(scope="module")
def dense():
    keras.utils.set_random_seed(0)
    model = network()
    model.compile(keras.optimizers.Adam(0.02), loss())
    model.fit(X, Y, epochs=25, verbose=0)
    return model


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def pruned(model, rate=0.0, loss=loss, **options):
    options = {"method": "uniform", "repair": None, **options}
    made = tf_lossprune.prune_model(model, {"params": 0.4}, **options)
    made.compile(keras.optimizers.SGD(rate), loss(), metrics=["accuracy"])
    return made


def fit(model, epochs=1, y=Y):
    kwargs = {"batch_size": 16, "shuffle": False, "verbose": 0}
    return model.fit(X, y, epochs=epochs, validation_data=(X, y), **kwargs).history


def test_the_dense_model_teaches_by_default(dense):
    found = pruned(dense, rate=0.001, method="loss", schedule=HALF)
    history = fit(found, 2)
    assert LESSON <= set(history)
    assert not {f"val_{name}" for name in LESSON} & set(history)
    # The search has moved the weights; the teacher is who it was.
    np.testing.assert_allclose(
        ops.convert_to_numpy(found.teacher(X)),
        ops.convert_to_numpy(dense(X)),
        rtol=1e-5,
        atol=1e-5,
    )
    assert not found.teacher.trainable_variables
    assert len(tf_lossprune.strip_pruning(found).layers) == len(dense.layers)


def test_half_of_the_task_loss_is_the_teachers_and_regularizers_count_once(dense):
    found = pruned(dense)
    history = fit(found)
    compact = tf_lossprune.strip_pruning(found)
    logits = ops.convert_to_numpy(compact(X)).astype("float64")
    taught = ops.convert_to_numpy(dense(X)).astype("float64")

    def log_softmax(x):
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    task = -log_softmax(logits)[np.arange(64), Y].mean()
    t, s = log_softmax(taught / 3), log_softmax(logits / 3)
    distance = 9 * (np.exp(t) * (t - s)).sum(-1).mean()
    added = 0.01 * (compact.layers[1].get_weights()[0] ** 2).sum()
    wanted = 0.5 * task + 0.5 * distance + added
    assert history["distillation_loss"][-1] == pytest.approx(distance, rel=1e-3)
    assert history["loss"][-1] == pytest.approx(wanted, rel=1e-3)


def test_a_teacher_that_is_not_better_has_no_say_and_goes():
    keras.utils.set_random_seed(1)
    untrained = network()
    found = pruned(untrained, rate=0.2)
    history = fit(found, 12)
    assert history["loss"][-3:] == history["student_loss"][-3:]
    assert history["distillation_loss"][-1] == 0.0  # it is not even asked
    # It may have won some batches right after the cut.
    wanted = fit(pruned(untrained, rate=0.2, distill=False), 12)
    assert history["val_loss"][-1] == pytest.approx(wanted["val_loss"][-1], rel=0.2)


def test_who_wants_no_teacher_has_none(dense):
    off = pruned(dense, distill=False)
    assert not LESSON & set(fit(off)) and off.teacher is None
    values = pruned(network(1), loss=lambda: "mse")
    assert not LESSON & set(fit(values, y=Y.astype("float32")))
    assert values.teacher is None
    told = pruned(network(1), loss=lambda: "mse", distill=0.3)
    assert LESSON <= set(fit(told, y=Y.astype("float32")))


def test_what_is_saved_goes_on_with_its_teacher(dense, tmp_path):
    found = pruned(dense, rate=0.05)
    fit(found)
    found.save(tmp_path / "pruned.keras")
    loaded = keras.models.load_model(tmp_path / "pruned.keras")
    again = pruned(dense, rate=0.05)
    found.save_weights(tmp_path / "pruned.weights.h5")
    fit(again)
    again.load_weights(tmp_path / "pruned.weights.h5")
    wanted = fit(found)
    for other in (loaded, again):
        assert fit(other)["loss"] == pytest.approx(wanted["loss"], rel=1e-6)
        for a, b in zip(found.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    without = pruned(dense, distill=False)
    without.load_weights(tmp_path / "pruned.weights.h5")
    assert without.teacher is None and not LESSON & set(fit(without))


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_a_weight_out_of_range_is_refused(dense, wrong):
    with pytest.raises(ValueError, match="Expected distill.*Received"):
        pruned(dense, distill=wrong)
    with pytest.raises(ValueError, match="Expected a temperature.*Received"):
        pruned(dense, temperature=wrong - 1.5)


@pytest.mark.parametrize(
    ("form", "targets"),
    [
        (lambda y: [y], lambda y: y),
        pytest.param(
            lambda y: {"classes": y}, lambda y: {"classes": y}, marks=pytest.mark.long
        ),
        pytest.param(lambda y: y, lambda y: [y], marks=pytest.mark.long),
    ],
    ids=["list of one, bare targets", "dict of one", "bare, list of targets"],
)
def test_one_output_may_come_in_a_list_or_a_dict(dense, form, targets):
    wrapped = keras.Model(dense.inputs, form(dense.outputs[0]))
    found = fit(pruned(wrapped), y=targets(Y))
    expected = fit(pruned(dense))
    for name in LESSON:
        assert found[name] == pytest.approx(expected[name], rel=1e-4), name
