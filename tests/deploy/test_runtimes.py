"""Compact models in other runtimes: they compute the same, and are timed."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

import tf_lossprune
from examples import models
from tf_lossprune import deploy

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="LiteRT takes TensorFlow"
)
EXPORTS = {"onnx": (deploy.to_onnx, ".onnx"), "openvino": (deploy.to_openvino, ".xml")}


def needs(extra):
    packages = {
        "onnx": ("onnxruntime", "tf2onnx"),
        "openvino": ("openvino",),
        "quantizer": ("ai_edge_quantizer",),
    }
    for package in packages[extra]:
        reason = f"needs pip install 'tf_lossprune[{extra}]'"
        pytest.importorskip(package, reason=reason)


@pytest.fixture(scope="module")
def compact():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="relu")(x))
    model = models.randomize(keras.Model(inputs, layers.Dense(4)(x)))
    pruned = tf_lossprune.prune_model(model, 0.6, method="uniform")
    return tf_lossprune.strip_pruning(pruned)


@pytest.fixture(scope="module")
def several():
    left, right = keras.Input((6,), name="left"), keras.Input((4,), name="right")
    hidden = layers.Dense(5, activation="relu")(left)
    joined = layers.Concatenate()([hidden, right])
    outputs = [layers.Dense(3)(joined), layers.Dense(2)(left)]
    return models.randomize(keras.Model([right, left], outputs))


@pytest.fixture(scope="module")
def file(compact, tmp_path_factory):
    return deploy.to_litert(compact, tmp_path_factory.mktemp("files") / "c.tflite")


def inputs_of(model, count=3):
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(count, *t.shape[1:])).astype("float32") for t in model.inputs
    ]


def assert_same(found, expected):
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected)):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("form", EXPORTS)
def test_exported_files_compute_what_the_model_does(form, compact, several, tmp_path):
    needs(form)
    export, ending = EXPORTS[form]
    x = inputs_of(compact)[0]
    path = export(compact, tmp_path / f"one{ending}")
    assert_same(deploy.run_file(path, x), compact(x))
    result = deploy.benchmark_file(path, threads=2, runs=5, warmup=1)
    assert result.runtime == form and result.arena_bytes is None
    assert 0 < result.p10_ms <= result.median_ms <= result.p90_ms
    assert result.file_bytes > 4 * compact.count_params()
    path = export(several, tmp_path / f"several{ending}", inputs_of(several))
    assert_same(deploy.run_file(path, inputs_of(several)), several(inputs_of(several)))
    with pytest.raises(ValueError, match="structure of the file's inputs.*Received"):
        deploy.run_file(path, x)


def test_an_export_that_computes_something_else_is_not_written(
    compact, tmp_path, monkeypatch
):
    needs("onnx")
    export = type(compact).export

    def broken(model, *args, **kwargs):
        other = models.randomize(keras.models.clone_model(model), 5)
        export(other, *args, **kwargs)

    monkeypatch.setattr(type(compact), "export", broken)
    with pytest.raises(RuntimeError, match="a .onnx file that computes.*Received"):
        deploy.to_onnx(compact, tmp_path / "broken.onnx")
    assert not list(tmp_path.iterdir())


def test_compiled_model_agrees_with_the_interpreter(compact, file, several, tmp_path):
    x = inputs_of(compact)[0]
    assert_same(deploy.run_file(file, x, "compiled"), compact(x))
    path = deploy.to_litert(compact, tmp_path / "int8.tflite", "int8", x)
    both = [deploy.run_file(path, x, runtime) for runtime in ("litert", "compiled")]
    np.testing.assert_array_equal(*both)
    path = deploy.to_litert(several, tmp_path / "several.tflite")
    given = inputs_of(several)
    assert_same(deploy.run_file(path, given, "compiled"), several(given))
    times = deploy.times_in_turns(
        [file, file], rounds=2, block_ms=1.0, runtime=["litert", "compiled"]
    )
    assert all(time > 0 for time in times)


def test_the_runtime_follows_from_the_file(file, tmp_path):
    assert deploy.benchmark_file(file, runs=2).runtime == "litert"
    with pytest.raises(ValueError, match="ending in .onnx. Received: .*c.tflite"):
        deploy.benchmark_file(file, "onnx")
    with pytest.raises(ValueError, match="'litert'.*Received: 'tvm'"):
        deploy.run_file(file, np.zeros((1, 8, 8, 3)), "tvm")
    with pytest.raises(ValueError, match="existing file"):
        deploy.benchmark_file(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="shape .*Received: "):
        deploy.run_file(file, np.zeros((1, 8, 8, 4)), "compiled")
    with pytest.raises(ValueError, match="for each of 2 files.*Received"):
        deploy.times_in_turns([file, file], runtime=["litert"])


@pytest.mark.parametrize(
    ("package", "extra", "call"),
    [
        ("tf2onnx", "onnx", lambda m, p: deploy.to_onnx(m, p / "a.onnx")),
        ("openvino", "openvino", lambda m, p: deploy.to_openvino(m, p / "a.xml")),
        (
            "ai_edge_quantizer",
            "quantizer",
            lambda m, p: deploy.quantize_litert(m, p / "a.tflite"),
        ),
    ],
)
def test_without_the_extra_the_error_names_the_command(
    package, extra, call, compact, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'tf_lossprune\[{extra}\]'"):
        call(compact, tmp_path)
    assert not list(tmp_path.iterdir())


def test_ai_edge_quantizer_beside_the_converter(compact, several, tmp_path):
    needs("quantizer")
    x = inputs_of(compact, 8)[0]
    files = {
        scheme: deploy.quantize_litert(
            compact, tmp_path / f"{scheme}.tflite", scheme, x
        )
        for scheme in ("dynamic_int8", "static_int8", "int4_weights")
    }
    files["converter"] = deploy.to_litert(
        compact, tmp_path / "converter.tflite", "int8_fp32_io", x
    )
    errors = {s: deploy.litert_error(compact, path, x) for s, path in files.items()}
    assert errors["dynamic_int8"] < 0.05
    assert errors["static_int8"] < 2 * errors["converter"] < 0.1
    assert errors["int4_weights"] < 0.3
    for path in files.values():
        assert_same(deploy.run_file(path, x), deploy.run_file(path, x, "compiled"))
    path = deploy.quantize_litert(
        several, tmp_path / "several.tflite", "static_int8", inputs_of(several, 16)
    )
    assert deploy.litert_error(several, path, inputs_of(several, 16)) < 0.1
    with pytest.raises(ValueError, match="needs `representative_data`"):
        deploy.quantize_litert(compact, tmp_path / "a.tflite", "static_int8")
    with pytest.raises(ValueError, match="'static_int8'.*Received: 'int3'"):
        deploy.quantize_litert(compact, tmp_path / "a.tflite", "int3")
