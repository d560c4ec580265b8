"""The table before and after."""

import importlib
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_lossprune
from examples import models
from tf_lossprune.deploy import arena_bytes, benchmark_litert, run_litert, to_litert

pytest.importorskip("ai_edge_litert")

# The function of the same name hides it.
compare_module = importlib.import_module("tf_lossprune.deploy.comparison")

KEYS = {"macs", "params", "tflite_bytes", "arena_bytes", "latency_ms"}


def network(width):
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(width, 3, padding="same")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return models.randomize(keras.Model(inputs, layers.Dense(10)(x), name="network"))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 8, 8, 1)).astype("float32")
    return x, rng.integers(0, 10, 40)


@pytest.fixture(scope="module")
def pair():
    """A network and one of half its width."""
    return network(32), network(16)


@pytest.fixture(scope="module")
def files(pair, data, tmp_path_factory):
    """Function (model, precision) -> its file, converted once."""
    folder, made = tmp_path_factory.mktemp("litert"), {}

    def get(model, precision="fp32"):
        key = model.count_params(), precision
        if key not in made:
            path = folder / f"{key[0]}_{precision}.tflite"
            made[key] = to_litert(model, path, precision, data[0])
        return made[key]

    return get


@pytest.fixture
def converted_before(files, monkeypatch):
    """Lets `compare` copy the files above instead of converting once more."""

    def copy(model, path, precision, representative_data=None):
        return shutil.copy(files(model, precision), path)

    monkeypatch.setattr(compare_module, "to_litert", copy)
    monkeypatch.setattr(compare_module, "convert_to_measure", copy)


def keras_accuracy(model, data):
    x, y = data
    return np.mean(np.argmax(model(x, training=False), -1) == y)


def test_all_figures(pair, data, tmp_path, capsys):
    result = tf_lossprune.compare(*pair, data, folder=tmp_path, rounds=2)
    for name, model, figures in (
        ("dense", pair[0], result.dense),
        ("compact", pair[1], result.compact),
    ):
        path = tmp_path / f"{name}.tflite"
        assert set(figures) == KEYS | {"accuracy", "file_error"}
        assert figures["accuracy"] == pytest.approx(keras_accuracy(model, data))
        assert tf_lossprune.cost(model).items() <= figures.items()
        assert figures["tflite_bytes"] == path.stat().st_size
        assert figures["arena_bytes"] == arena_bytes(path)
        assert figures["latency_ms"] > 0
        assert figures["file_error"] < 1e-5
    for key in KEYS - {"latency_ms"}:
        assert result.compact[key] < result.dense[key]
    assert capsys.readouterr().out == f"{result}\n"
    assert json.loads(json.dumps(result.to_dict())) == {
        "dense": result.dense,
        "compact": result.compact,
        "precision": "fp32",
        "threads": 1,
    }


def test_without_data_there_is_no_accuracy(pair, converted_before, capsys):
    result = tf_lossprune.compare(
        *pair, precision="int8", threads=2, rounds=1, verbose=False
    )
    assert set(result.compact) == KEYS
    assert (result.precision, result.threads) == ("int8", 2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["dataset", "sequence", "one_hot"])
def test_kinds_of_data(kind, pair, data, converted_before):
    x, y = data
    given = {
        "dataset": tf.data.Dataset.from_tensor_slices((x, y)).batch(16),
        "sequence": Batches(x, y),
        "one_hot": (x, keras.utils.to_categorical(y, 10)),
    }[kind]
    result = tf_lossprune.compare(*pair, given, rounds=1, verbose=False)
    expected = keras_accuracy(pair[1], data)
    assert result.compact["accuracy"] == pytest.approx(expected)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(20 * index, 20 * index + 20)
        return self.x[part], self.y[part]


def test_accuracy_of_ones_own():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    x, y = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])

    def accuracy(labels, outputs):
        return np.mean((outputs[:, 0] > 0) == labels)

    result = tf_lossprune.compare(
        model, model, (x, y), accuracy=accuracy, rounds=1, verbose=False
    )
    assert result.dense["accuracy"] == accuracy(y, np.asarray(model(x)))
    with pytest.raises(ValueError, match="need `accuracy`.*Received: .*4, 1"):
        tf_lossprune.compare(model, model, (x, y), verbose=False)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("fp32", 1e-5), ("fp16", 2e-3), ("int8", 0.1), ("int8_fp32_io", 0.1)],
)
def test_every_precision_computes_the_model(precision, tolerance, pair, data, files):
    outputs = run_litert(files(pair[0], precision), data[0])
    expected = np.asarray(pair[0](data[0], training=False))
    assert outputs.dtype == np.float32
    assert np.abs(outputs - expected).max() < tolerance * np.abs(expected).max()


def test_low_precision_needs_less(pair, files):
    found = {
        precision: benchmark_litert(files(pair[0], precision), runs=2, warmup=0)
        for precision in ("fp32", "fp16", "int8", "int8_fp32_io")
    }
    fp32, fp16 = found["fp32"], found["fp16"]
    assert fp16.file_bytes < fp32.file_bytes
    for precision in ("int8", "int8_fp32_io"):
        assert found[precision].arena_bytes < 0.4 * fp32.arena_bytes


def test_the_arena_of_a_chain(tmp_path):
    """Input and output of the only operation: 64 and 32 floats."""
    inputs = keras.Input((64,))
    model = keras.Model(inputs, layers.Dense(32)(inputs))
    path = to_litert(model, tmp_path / "model.tflite")
    assert arena_bytes(path) == 4 * (64 + 32)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "int4"}, ValueError, "Expected precision as"),
        ({"precision": "int8"}, ValueError, "representative_data"),
        ({"accuracy": 0.9}, TypeError, "Expected accuracy as"),
        ({"data": 3}, TypeError, "Expected data as"),
        ({"data": np.zeros((3, 8, 8, 1))}, ValueError, "labels"),
        ({"data": (np.zeros((3, 8, 8, 1)),)}, ValueError, "labels"),
        ({"data": (np.zeros((0, 8, 8, 1)), [])}, ValueError, "one sample"),
        ({"dense": "model.keras"}, TypeError, "Keras 3"),
        ({"rounds": 0}, ValueError, "Expected rounds"),
    ],
)
def test_wrong_calls(options, error, message, pair, data):
    arguments = {"dense": pair[0], "compact": pair[1], "data": data, **options}
    with pytest.raises(error, match=f"{message}.*Received: "):
        tf_lossprune.compare(**arguments, verbose=False)
