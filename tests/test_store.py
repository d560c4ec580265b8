"""A state on disk is whole, and of weights that mean something."""

import os

import keras
import numpy as np
import pytest

import tf_lossprune
from tf_lossprune.backup import Backup
from tf_lossprune.store import Store


def plain(rate=0.5):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dropout(rate, seed=3), keras.layers.Dense(2)]
    )
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return model


def fit(model, **options):
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 4)), rng.random((16, 2))
    return model.fit(x, y, batch_size=4, shuffle=False, verbose=0, **options)


def test_a_resumed_plain_model_drops_what_the_uninterrupted_one_would(tmp_path):
    """As where a compact model is trained on, of which Keras saves no seeds."""

    def safe(**options):
        return tf_lossprune.callbacks.SafeBackupAndRestore(tmp_path / "x", **options)

    expected = plain()
    fit(expected, epochs=3)
    fit(plain(), epochs=2, callbacks=[safe(delete_checkpoint=False)])
    resumed = plain()
    done = fit(resumed, epochs=3, callbacks=[safe()])
    assert done.epoch == [2]
    for a, b in zip(expected.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_ruined_weights_take_no_good_ones_place(tmp_path):
    model, store = plain(), Store(tmp_path)
    assert store.save(model, "good", {"step": 1})
    kernel = model.layers[-1].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    assert not store.save(model, "bad", {"step": 2})
    record = Store(tmp_path).read("step")
    assert record["step"] == 1
    store.load(model, record)
    assert np.isfinite(np.asarray(kernel)).all()
    assert sorted(os.listdir(tmp_path)) == ["good.weights.h5", "state.json"]


def test_a_state_of_the_same_name_is_another_file(tmp_path):
    store = Store(tmp_path)
    names = []
    for step in range(3):
        store.save(plain(), "a", {"step": step})
        names.append(Store(tmp_path).read()["weights"])
    assert names == ["a.weights.h5", "a-again.weights.h5", "a.weights.h5"]
    assert sorted(os.listdir(tmp_path)) == ["a.weights.h5", "state.json"]


def test_what_others_have_put_there_stays(tmp_path):
    store = Store(tmp_path / "x")
    store.remove()  # nothing there
    store.save(plain(), "a", {})
    (tmp_path / "x" / "notes.txt").write_text("mine")
    assert store.others() == ["notes.txt"]
    store.remove()
    assert os.listdir(tmp_path / "x") == ["notes.txt"]


def test_the_state_of_one_kind_of_run_is_refused_by_the_other(tmp_path):
    model = plain()
    safe = tf_lossprune.callbacks.SafeBackupAndRestore(tmp_path)
    safe.set_model(model)
    safe.on_epoch_end(0)
    with pytest.raises(ValueError, match="an interrupted run.*Received: "):
        Backup(tmp_path).open({"steps": 3})


@pytest.mark.parametrize("kind", [Store, Backup])
def test_no_folder(kind):
    with pytest.raises(TypeError, match="Received: 3"):
        kind(3)
    with pytest.raises(ValueError, match="Received: ''"):
        kind("")
