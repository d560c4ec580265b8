"""Running and timing LiteRT files."""

import builtins
import dataclasses
import os
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_lossprune.deploy import FileBenchmark, benchmark_litert, run_litert, to_litert

pytest.importorskip("ai_edge_litert")


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((5,))
    return keras.Model(inputs, layers.Dense(3, activation="tanh")(inputs))


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    return to_litert(model, tmp_path_factory.mktemp("litert") / "dense.tflite")


def test_predictions_are_those_of_keras(model, path):
    x = np.random.default_rng(0).normal(size=(7, 5))
    y = run_litert(path, x)
    assert y.shape == (7, 3)
    np.testing.assert_allclose(y, model(x.astype("float32")), atol=1e-6)


def export_with_batch(model, batch, path):
    signature = [keras.InputSpec(shape=(batch, 5), dtype="float32")]
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False, input_signature=signature)
        content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    with open(path, "wb") as file:
        file.write(content)


def test_a_file_with_a_free_batch_runs_at_once(model, tmp_path):
    free = str(tmp_path / "free.tflite")
    export_with_batch(model, None, free)
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    np.testing.assert_allclose(run_litert(free, x), model(x), atol=1e-6)


def test_a_file_with_a_batch_of_several(model, tmp_path):
    pairs = str(tmp_path / "pairs.tflite")
    export_with_batch(model, 2, pairs)
    x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    np.testing.assert_allclose(run_litert(pairs, x), model(x), atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 2.*Received: .3, 5."):
        run_litert(pairs, x[:3])


@pytest.mark.parametrize("shape", [(4, 6), (5,), (2, 5, 1), (0, 5)])
def test_input_of_another_shape(path, shape):
    with pytest.raises(ValueError, match="Received: "):
        run_litert(path, np.zeros(shape))


def test_benchmark_figures(path):
    result = benchmark_litert(path, threads=2, runs=20, warmup=2)
    assert isinstance(result, FileBenchmark)
    assert 0.0 < result.p10_ms <= result.median_ms <= result.p90_ms
    assert result.file_bytes == os.path.getsize(path)
    assert (result.runs, result.threads) == (20, 2)
    assert set(dataclasses.asdict(result)) == {
        "runtime",
        "median_ms",
        "p10_ms",
        "p90_ms",
        "file_bytes",
        "arena_bytes",
        "runs",
        "threads",
    }


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"runs": 0}, ValueError),
        ({"threads": 0}, ValueError),
        ({"warmup": -1}, ValueError),
        ({"runs": 2.5}, TypeError),
        ({"threads": True}, TypeError),
    ],
)
def test_wrong_counts(path, options, error):
    with pytest.raises(error, match=f"Expected {next(iter(options))} as .* Received: "):
        benchmark_litert(path, **options)


@pytest.mark.parametrize("function", [benchmark_litert, lambda p: run_litert(p, [[0]])])
def test_wrong_files(function, tmp_path):
    other = tmp_path / "other.tflite"
    other.write_text("This is not a LiteRT file, only a few words of text.")
    with pytest.raises(ValueError, match="existing file. Received: "):
        function(tmp_path / "missing.tflite")
    with pytest.raises(ValueError, match="that of a LiteRT file"):
        function(other)
    with pytest.raises(TypeError, match="Received: None"):
        function(None)


def test_a_missing_runtime_is_named(path, monkeypatch):
    original = builtins.__import__

    def without_litert(name, *args, **kwargs):
        if name.startswith("ai_edge_litert"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_litert)
    with pytest.raises(ImportError, match="pip install ai-edge-litert"):
        run_litert(path, np.zeros((1, 5)))
