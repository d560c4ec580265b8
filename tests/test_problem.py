import collections

import keras
import numpy as np
import pytest
from keras import layers

import tf_lossprune
from tf_lossprune import report
from tf_lossprune.graph import groups, tracing

X = np.random.default_rng(0).normal(size=(32, 8, 8, 3)).astype("float32")
Y = np.arange(32) % 4


def network():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = layers.Dropout(0.1)(x)
    x = layers.Conv2D(8, 3, activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="last")(x), name="small")


@pytest.fixture
def read(monkeypatch):
    """Counts per model how often it is traced, and the analyses."""
    counts, models = collections.Counter(), []
    check_model, work = tracing.check_model, groups.Work

    def counted(model):
        models.append(model)  # or another one may get its id
        counts[id(model)] += 1
        check_model(model)

    def analyzed(*args):
        counts["analyses"] += 1
        return work(*args)

    monkeypatch.setattr(tracing, "check_model", counted)
    monkeypatch.setattr(groups, "Work", analyzed)
    return counts


def taught():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"loss": loss, "epochs": 1, "batch_size": 8, "verbose": 0}
    return {**options, "optimizer": "sgd"}


def pruned(fitted=False):
    model = tf_lossprune.prune_model(
        network(), {"macs": 0.5}, method="loss" if fitted else "uniform"
    )
    if fitted:
        model.compile("sgd", "mse")
        model.fit(X, np.eye(4)[Y], epochs=4, batch_size=2, verbose=0)
        assert model.is_compact
    return model


ANALYSES = {
    "prune_model": (lambda m: tf_lossprune.prune_model(m, {"macs": 0.5}), 1),
    "prune_model_at_once": (
        lambda m: tf_lossprune.prune_model(
            m, {"macs": 0.7}, method="uniform", exclude="first"
        ),
        1,
    ),
    "inspect_model": (lambda m: tf_lossprune.inspect_model(m, exclude="first"), 1),
    "cost": (lambda m: tf_lossprune.cost(m, per_layer=True), 1),
    # The compact model is another, of which the costs are counted anew.
    "compress": (
        lambda m: tf_lossprune.compress(m, {"macs": 0.5}, (X, Y), **taught()),
        2,
    ),
    "compress_frontier": (
        lambda m: tf_lossprune.compress_frontier(m, [0.7, 0.5], (X, Y), **taught()),
        3,
    ),
}


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.filterwarnings("ignore:The search for the widths has")
def test_no_public_call_traces_a_model_twice(read, name):
    call, analyses = ANALYSES[name]
    model = network()
    read.clear()
    call(model)
    assert read.pop("analyses") == analyses
    assert read[id(model)] == 1
    assert set(read.values()) == {1}


@pytest.mark.parametrize("fitted", [False, True])
def test_stripping_traces_a_model_once_at_most(read, fitted):
    model = pruned(fitted)
    read.clear()
    tf_lossprune.strip_pruning(model)
    assert "analyses" not in read
    assert set(read.values()) <= {1}


def test_a_report_traces_a_model_once(read):
    model = network()
    _, result = tf_lossprune.compress(
        model, {"macs": 0.5}, (X, Y), method="uniform", **taught()
    )
    read.clear()
    report.report_data(model, result, exclude="first")
    assert read == {"analyses": 1, id(model): 1}


def test_loading_traces_the_template_once(read, tmp_path):
    model = pruned()
    model.save(tmp_path / "pruned.keras")
    read.clear()
    again = keras.models.load_model(tmp_path / "pruned.keras")
    assert read.pop("analyses") == 1
    assert set(read.values()) == {1}
    assert again.problem.space == model.problem.space
    np.testing.assert_allclose(again(X), model(X), rtol=1e-5, atol=1e-6)


def test_excluded_layers_of_equal_names_are_told_apart():
    """A layer of a nested model stays, another of the same name does not."""
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="same")])
    inputs = keras.Input((6,))
    x = layers.Dense(6, name="same")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(inner(layers.ReLU()(x))))
    stays = inner.layers[-1]
    pruned = tf_lossprune.prune_model(
        model, {"params": 0.8}, method="uniform", exclude=lambda layer: layer is stays
    )
    found = tf_lossprune.inspect_model(model, exclude=lambda layer: layer is stays)
    assert len(pruned.groups) == len(found.groups) == 1
    again = type(pruned).from_config(pruned.get_config())
    assert [g.name for g in again.groups] == [g.name for g in pruned.groups]
