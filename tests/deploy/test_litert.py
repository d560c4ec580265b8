"""Conversion to LiteRT keeps the function and the model."""

import pathlib

import keras
import numpy as np
import pytest
from keras import layers

import tf_lossprune
from examples import models
from tf_lossprune.deploy import run_litert, to_litert
from tf_lossprune.deploy.litert import convert_operation, convert_to_measure

pytest.importorskip("ai_edge_litert")


def small_model():
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization()(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def images(model, count=3):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def assert_same(path, model, tolerance=1e-5):
    x = images(model)
    expected = np.asarray(model(x, training=False), "float32")
    error = np.abs(run_litert(path, x) - expected).max() / np.abs(expected).max()
    assert error < tolerance


@pytest.mark.parametrize(
    "name", ["digits_resnet", "densenet_small", "squeeze_excite_net"]
)
def test_outputs_agree(name, tmp_path):
    model = models.build(name, input_shape=(8, 8, 1), width=4)
    models.randomize(model)
    assert_same(to_litert(model, tmp_path / "model.tflite"), model)


def test_depthwise_and_one_dimensional_convolutions(tmp_path):
    inputs = keras.Input((12, 4))
    x = layers.Conv1D(6, 3, padding="causal", activation="swish")(inputs)
    x = layers.Reshape((4, 3, 6))(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = layers.SeparableConv2D(5, 3, activation="relu6")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    models.randomize(model)
    assert_same(to_litert(model, tmp_path / "model.tflite"), model)


def test_the_file_takes_one_sample_and_only_its_own_operations(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model = small_model()
    path = to_litert(model, tmp_path / "model.tflite")
    interpreter = Interpreter(model_path=path)
    (source,) = interpreter.get_input_details()
    assert source["shape_signature"].tolist() == [1, 6, 6, 1]
    assert source["dtype"] == np.float32


def test_returns_the_path_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "model.tflite"
    returned = to_litert(small_model(), path)
    assert returned == str(path)
    assert path.stat().st_size > 1000


def test_a_bare_file_name_is_enough(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert to_litert(small_model(), "model.tflite") == "model.tflite"
    assert pathlib.Path("model.tflite").exists()


def test_the_model_is_untouched_and_the_terminal_quiet(tmp_path, capfd):
    model = models.randomize(small_model())
    weights, config = model.get_weights(), model.get_config()
    capfd.readouterr()
    to_litert(model, tmp_path / "model.tflite")
    assert capfd.readouterr() == ("", "")
    assert model.get_config() == config
    assert not model.compiled
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    model.save(tmp_path / "model.keras")


def test_nested_and_sequential_models(tmp_path):
    inner = models.randomize(small_model())
    model = keras.Sequential([keras.Input((6, 6, 1)), inner, layers.Softmax()])
    assert_same(to_litert(model, tmp_path / "model.tflite"), model)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_converted_in_float32(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        inner = models.randomize(small_model())
        inputs = keras.Input((6, 6, 1))
        model = keras.Model(inputs, layers.Softmax()(inner(inputs)))
    finally:
        keras.config.set_dtype_policy("float32")
    path = to_litert(model, tmp_path / "model.tflite")
    assert run_litert(path, images(model)).dtype == np.float32
    assert_same(path, model, tolerance=0.05)
    assert inner.get_layer("conv").compute_dtype == policy.split("_")[1]


def test_missing_operations_are_named(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.erfinv(layers.Dense(3)(inputs)))
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match="operations that LiteRT has.*Erfinv"):
        to_litert(model, path)
    assert not path.exists()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_file_of_an_operation_holds_nothing_else(precision, tmp_path):
    """Weights were read as variables and turned round at every call, and timed."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, layers.Conv2D(8, 3)(inputs))
    path = str(tmp_path / "model.tflite")
    convert_operation(model, path, precision)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(path, experimental_op_resolver_type=plain)
    assert [op["op_name"] for op in interpreter._get_ops_details()] == ["CONV_2D"]
    assert run_litert(path, images(model)).shape == (3, 6, 6, 8)


def _two_inputs():
    image, number = keras.Input((8, 8, 3), name="z"), keras.Input((6,), name="a")
    x = layers.Conv2D(8, 3, use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Concatenate()([x, layers.Dense(8, activation="relu")(number)])
    return keras.Model({"z": image, "a": number}, {"out": layers.Dense(3)(x)})


def _recurrent():
    inputs = keras.Input((3, 4))
    return keras.Model(inputs, layers.Dense(2)(layers.GRU(4)(inputs)))


@pytest.mark.parametrize(
    ("build", "policy", "precision"),
    [
        (_two_inputs, "mixed_float16", "fp32"),
        (_two_inputs, "float32", "int8"),
        (_recurrent, "mixed_bfloat16", "int8"),
    ],
)
def test_what_is_only_timed_runs_as_what_is_delivered(
    build, policy, precision, tmp_path
):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    keras.config.set_dtype_policy(policy)
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    found = []
    for convert in (convert_operation, convert_to_measure):
        path = str(tmp_path / f"{len(found)}.tflite")
        convert(model, path, precision)
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(path, experimental_op_resolver_type=plain)
        details = interpreter.get_tensor_details()
        operations = [op["op_name"] for op in interpreter._get_ops_details()]
        dtypes = {str(np.dtype(tensor["dtype"])) for tensor in details}
        found.append((sorted(operations), dtypes))
    (quickly, dtypes), (delivered, expected) = found
    if build is _recurrent:  # of the state it begins with, some is folded
        assert quickly.count("LOGISTIC") == delivered.count("LOGISTIC") > 1
    else:
        assert quickly == delivered and dtypes == expected
    assert "float16" not in dtypes and "WHILE" not in quickly


def test_wrong_models(tmp_path):
    path = tmp_path / "model.tflite"
    with pytest.raises(TypeError, match="Received: builtins.str"):
        to_litert("model.keras", path)
    with pytest.raises(TypeError, match="Dense"):
        to_litert(layers.Dense(3), path)
    with pytest.raises(ValueError, match="Expected a built .* model. Received: Seq"):
        to_litert(keras.Sequential([layers.Dense(3)]), path)


def test_a_model_being_pruned_is_sent_to_strip_pruning(tmp_path):
    pruned = tf_lossprune.prune_model(small_model(), {"macs": 0.5}, method="uniform")
    with pytest.raises(ValueError, match="strip_pruning"):
        to_litert(pruned, tmp_path / "model.tflite")


def test_wrong_paths():
    model = small_model()
    with pytest.raises(ValueError, match="ending in .tflite. Received: 'model.keras'"):
        to_litert(model, "model.keras")
    with pytest.raises(TypeError, match="Received: None"):
        to_litert(model, None)
