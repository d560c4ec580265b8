"""What a teacher says of each output."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_lossprune
from tf_lossprune.training.distillation import Distillation

CE, BCE = keras.losses.CategoricalCrossentropy, keras.losses.BinaryCrossentropy
rng = np.random.default_rng(0)
X = rng.normal(size=(24, 6)).astype("float32")
Y = {
    "boxes": rng.normal(size=(24, 3)).astype("float32"),
    "classes": rng.integers(0, 4, 24),
    "flags": rng.integers(0, 2, (24, 2)).astype("float32"),
}


def network(classes="softmax", flags="sigmoid", kind=dict, dtype=None):
    inputs = keras.Input((6,))
    x = layers.Dense(16, activation="relu", name="hidden", dtype=dtype)(inputs)
    outputs = {
        "boxes": layers.Dense(3, name="boxes", dtype="float32")(x),
        "classes": layers.Dense(4, classes, name="classes", dtype="float32")(x),
        "flags": layers.Dense(2, flags, name="flags", dtype="float32")(x),
    }
    found = outputs if kind is dict else list(outputs.values())
    model = keras.Model(inputs, found)
    draw = np.random.default_rng(1).normal
    model.set_weights([draw(size=w.shape) for w in model.get_weights()])
    return model


LOSSES = {
    "boxes": "huber",
    "classes": "sparse_categorical_crossentropy",
    "flags": "binary_crossentropy",
}


def one_output(activation, loss, units=4, end=()):
    """A distillation of a model with one output, and what the model says."""
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(units, activation)(inputs))
    for layer in end:
        model = keras.Model(inputs, layer(model.output))
    model.compile("sgd", loss)
    values = model(X)
    model.compute_loss(y=ops.zeros_like(values), y_pred=values)
    return Distillation(model, 2.0)


def test_probabilities_teach_what_their_logits_teach():
    """A softmax or sigmoid in the model changes nothing."""
    teacher, student = rng.normal(size=(2, 24, 4)).astype("float32")
    for loss, end in ((CE, ops.softmax), (BCE, ops.sigmoid)):
        name = end.__name__
        logits = one_output(None, loss(from_logits=True))(teacher, student)
        p = one_output(name, loss())(end(teacher), end(student))
        np.testing.assert_allclose(p, logits, rtol=1e-3)
        assert float(logits) > 0.01


def test_values_against_numpy():
    teacher, student = rng.normal(size=(2, 24, 4)).astype("float32")

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    t, s = softmax(teacher / 2), softmax(student / 2)
    found = one_output(None, CE(from_logits=True))(teacher, student)
    wanted = 4 * (t * np.log(t / s)).sum(-1).mean()
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    t, s = (1 / (1 + np.exp(-x / 2)) for x in (teacher, student))
    found = one_output(None, BCE(from_logits=True))(teacher, student)
    wanted = 4 * (t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s))).mean()
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    found = one_output(None, "mae")(teacher, student)
    np.testing.assert_allclose(found, ((teacher - student) ** 2).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("activation", "loss", "end", "kind", "logits"),
    [
        ("softmax", "mse", (), "categorical", False),
        ("sigmoid", "mse", (), "binary", False),
        ("softmax", CE(from_logits=True), (), "categorical", False),
        (None, "kl_divergence", (), "categorical", False),
        (None, "mse", [layers.Softmax()], "categorical", False),
        (
            "softmax",
            "mse",
            [layers.Reshape((2, 2)), layers.Activation("linear", dtype="float32")],
            "categorical",
            False,
        ),
        ("tanh", "mse", (), "regression", True),
        (None, lambda y, p: ops.mean(ops.abs(y - p), -1), (), "regression", True),
    ],
)
def test_what_an_output_is_taken_for(activation, loss, end, kind, logits):
    (taught,) = one_output(activation, loss, end=end).outputs
    assert (taught.kind, taught.logits) == (kind, logits)


def compress(model, y=Y, **options):
    given = {
        "method": "uniform",
        "epochs": 2,
        "batch_size": 8,
        "optimizer": keras.optimizers.SGD(0.01),
        "loss": LOSSES,
        "distill": True,
        "verbose": 0,
        "shuffle": False,
        "jit_compile": False,
    }
    return tf_lossprune.compress(
        model, {"params": 0.6}, (X, y), (X, y), **{**given, **options}
    )


@pytest.mark.parametrize("kind", [dict, list])
def test_several_outputs_with_losses_and_metrics_by_name(kind):
    y = Y if kind is dict else [*Y.values()]
    metrics = {"classes": ["accuracy"], "boxes": ["mae"]}
    model = network(kind=kind)
    losses = LOSSES if kind is dict else [*LOSSES.values()]
    compact, result = compress(
        model, y, metrics=metrics, loss=losses, loss_weights=[1.0, 2.0, 0.5]
    )
    assert result.distillation == {
        "boxes": "values, by their squared difference",
        "classes": "probabilities of categorical classes, softened",
        "flags": "probabilities of binary classes, softened",
    }
    history = result.history["fine_tune"]
    wanted = {"loss", "student_loss", "distillation_loss", "val_classes_accuracy"}
    assert wanted | {"boxes_mae", "boxes_loss"} <= set(history)
    assert min(history["distillation_loss"]) > 0
    halves = np.add(history["student_loss"], history["distillation_loss"]) / 2
    np.testing.assert_allclose(history["loss"], halves, rtol=1e-4)
    assert "classes_accuracy" in result.compact and "classes_accuracy" in result.dense


def test_losses_and_metrics_by_name_while_the_widths_are_learned():
    """Outputs in a list have names too, in the search as in the fine-tuning."""
    _, result = compress(
        network(kind=list),
        tuple(Y.values()),
        method="loss",
        search_epochs=1,
        loss_weights={"boxes": 1.0, "classes": 2.0, "flags": 0.5},
        metrics={"classes": ["accuracy"], "boxes": ["mae"]},
    )
    for part in ("search", "fine_tune"):
        names = {"classes_accuracy", "boxes_mae", "boxes_loss", "val_flags_loss"}
        assert names <= set(result.history[part])


def test_with_all_the_weight_on_the_teacher_targets_do_not_matter():
    found = []
    for turn in (0, 1):
        y = {name: np.roll(values, turn, 0) for name, values in Y.items()}
        keras.utils.set_random_seed(0)
        compact, _ = compress(network(), y, distill=1.0)
        found.append(compact.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_sample_weights_hold_with_a_teacher():
    """Samples of weight 0 do not teach their targets."""
    weight = np.repeat([1.0, 0.0], 12).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )
    found = []
    for turn in (0, 1):
        y = Y["classes"].copy()
        y[12:] = (y[12:] + turn) % 4
        _, result = tf_lossprune.compress(
            model,
            {"params": 0.6},
            (X, y, weight),
            (X, y, weight),
            method="uniform",
            epochs=1,
            batch_size=24,
            optimizer=keras.optimizers.SGD(0.0),
            loss="sparse_categorical_crossentropy",
            weighted_metrics=["accuracy"],
            distill=True,
            verbose=0,
            jit_compile=False,
        )
        found.append((result.history["fine_tune"]["student_loss"], result.compact))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)


def test_several_budgets_with_several_outputs_in_mixed_precision(capsys):
    found = tf_lossprune.compress_frontier(
        network(dtype="mixed_bfloat16"),
        [{"params": 0.8}, {"params": 0.5}],
        (X, Y),
        epochs=2,
        search_epochs=1,
        batch_size=8,
        optimizer="sgd",
        loss=LOSSES,
        metrics={"classes": "accuracy"},
        distill=0.3,
        verbose=2,
        channel_multiple=1,
        jit_compile=False,
    )
    for _, result in found:
        assert np.isfinite(result.history["fine_tune"]["distillation_loss"]).all()
        assert "classes_accuracy" in result.history["fine_tune"]
    text = capsys.readouterr().out
    assert "flags: probabilities of binary classes" in text


def test_an_output_that_is_no_probability_is_refused_before_the_training():
    with pytest.raises(ValueError, match=r"from_logits=True.*Received: values from"):
        compress(network(classes=None))
    _, result = compress(network(), loss={**LOSSES, "boxes": None})
    assert set(result.distillation) == {"classes", "flags"}
