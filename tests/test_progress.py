"""What takes a while says how far it is; what does not stays silent."""

import keras
import numpy as np
from keras import layers

import tf_lossprune
from tf_lossprune import prune
from tf_lossprune.progress import Progress, silent


def network():
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(3)(x), name="mine")


def test_large_networks_show_how_far_they_are(monkeypatch, capsys):
    tf_lossprune.prune_model(network(), 0.5, method="magnitude")
    monkeypatch.setattr(prune, "PATIENCE", 1e-9)
    pruned = tf_lossprune.prune_model(network(), 0.5, method="magnitude")
    tf_lossprune.strip_pruning(pruned)
    told = capsys.readouterr().out
    assert "Wrapping mine: 0/4\n" in told and "Wrapping mine: 4/4 in " in told
    assert "Cutting mine: 2/2 in " in told


def test_verbose_0_shows_nothing(monkeypatch, capsys):
    monkeypatch.setattr(prune, "PATIENCE", 1e-9)
    data = np.zeros((8, 8), "float32"), np.zeros(8, int)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"epochs": 1, "loss": loss, "method": "uniform", "verbose": 0}
    tf_lossprune.compress(network(), 0.5, data, **options)
    assert not capsys.readouterr().out


def test_what_is_over_soon_is_not_told_of(capsys):
    with Progress("Waiting", 2, patience=60.0) as progress:
        progress.advance()
    with silent(), silent(False), Progress("Hushed", 2) as progress:
        progress.advance()
    assert not capsys.readouterr().out
    with Progress("Doing", 1) as progress:
        progress.advance()
    assert "Doing: 1/1 in" in capsys.readouterr().out
