"""Files keep names, structures and inference mode, and are compared with models."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from examples import models
from tf_lossprune.deploy import (
    arena_bytes,
    benchmark_litert,
    compare,
    litert_error,
    run_litert,
    to_litert,
)
from tf_lossprune.deploy.samples import calibration_samples

check = pytest.importorskip("tf_lossprune.deploy.check")
interpreters = pytest.importorskip("ai_edge_litert.interpreter")

PRECISIONS = ("fp32", "fp16", "int8", "int8_fp32_io")
BOUNDS = {"fp32": 1e-5, "fp16": 5e-3, "int8": 0.2, "int8_fp32_io": 0.2}


def detector():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu")(image)
    boxes = layers.Conv2D(4, 1, name="reg")(x)
    scores = layers.Conv2D(2, 1, activation="sigmoid", name="cls")(x)
    return keras.Model(image, {"scores": scores, "boxes": boxes})


def siamese():
    # Names whose order in the file is not that of the model.
    a, b = keras.Input((6,), name="b"), keras.Input((6,), name="a")
    tower = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(4)])
    return keras.Model([a, b], [tower(a) - 2.0 * tower(b), tower(a)])


def image_and_metadata():
    image, age = keras.Input((8, 8, 1), name="image"), keras.Input((1,), name="age")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    x = layers.Concatenate()([x, layers.Dense(3, activation="relu")(age)])
    return keras.Model({"image": image, "age": age}, layers.Dense(2)(x))


def inputs_of(model, count=12, seed=0):
    rng = np.random.default_rng(seed)
    return keras.tree.map_structure(
        lambda t: rng.normal(size=(count, *t.shape[1:])).astype("float32"), model.input
    )


def error_of(expected, actual):
    found = []
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(actual)):
        found.append(np.sqrt(np.mean((a - b) ** 2) / np.mean(np.square(a))))
    return max(found)


def signature(path):
    (found,) = interpreters.Interpreter(str(path)).get_signature_list().values()
    return found


@pytest.mark.parametrize("build", [detector, siamese, image_and_metadata])
def test_the_file_takes_and_gives_what_predict_does(build, tmp_path):
    model = models.randomize(build())
    x = inputs_of(model)
    expected = model.predict(x, verbose=0)
    for precision in PRECISIONS:
        path = to_litert(model, tmp_path / f"{precision}.tflite", precision, x)
        actual = run_litert(path, x)
        keras.tree.assert_same_structure(expected, actual)
        assert error_of(expected, actual) < BOUNDS[precision]
        assert litert_error(model, path, x) < BOUNDS[precision]


@pytest.mark.parametrize("build", [detector, siamese, image_and_metadata])
def test_signature_names_are_those_of_keras_own_export(build, tmp_path):
    model = build()
    model.export(tmp_path / "keras.tflite", format="litert", verbose=False)
    path = to_litert(model, tmp_path / "model.tflite")
    assert signature(path) == signature(tmp_path / "keras.tflite")


def test_inputs_by_their_names(tmp_path):
    model = models.randomize(siamese())
    a, b = inputs_of(model)
    path = to_litert(model, tmp_path / "model.tflite")
    for found, wanted in zip(run_litert(path, {"a": b, "b": a}), model([a, b])):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    with pytest.raises(ValueError, match=r"structure.*\['b', 'a'\].*Received: "):
        run_litert(path, a)
    with pytest.raises(ValueError, match="equally many samples.*Received: "):
        run_litert(path, [a, b[:3]])


def test_nested_structures_and_names_that_no_signature_holds(tmp_path):
    a, b = keras.Input((3,), name="my input:0"), keras.Input((4,), name="b")
    outputs = {"sum": [layers.Dense(2)(a) + layers.Dense(2)(b)], "a": (a + 1.0, b)}
    model = models.randomize(keras.Model([a, [b]], outputs))
    path = to_litert(model, tmp_path / "model.tflite")
    x = inputs_of(model)
    assert error_of(model(x), run_litert(path, x)) < 1e-5
    assert signature(path)["inputs"] == ["b", "my_input_0"]


@pytest.mark.parametrize("kind", ["labels", "inputs", "dict", "sequence"])
def test_forms_of_calibration_data(kind, tmp_path):
    model = models.randomize(image_and_metadata())
    x = inputs_of(model)
    y = np.zeros(12)
    given = {
        "labels": tf.data.Dataset.from_tensor_slices((x, y)).batch(5),
        "inputs": tf.data.Dataset.from_tensor_slices(x).batch(5),
        "dict": (x, y),
        "sequence": [(x, y), (x, y)],
    }[kind]
    path = to_litert(model, tmp_path / "model.tflite", "int8", given)
    assert litert_error(model, path, x) < 0.2


def test_calibration_data_as_tuples(tmp_path):
    model = models.randomize(siamese())
    x = inputs_of(model)
    for given in (tuple(x), tf.data.Dataset.from_tensor_slices(tuple(x)).batch(4)):
        path = to_litert(model, tmp_path / "model.tflite", "int8", given)
        assert litert_error(model, path, x) < 0.2
    with pytest.raises(ValueError, match="model's inputs.*Received: "):
        to_litert(model, path, "int8", {"a": x[0]})
    with pytest.raises(ValueError, match=r"shape \(6,\) for input 'b'.*Received: "):
        to_litert(model, path, "int8", [x[0][:, :3], x[1]])


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return np.full((100, 2), float(index)), np.zeros(100)


def test_calibration_takes_the_first_samples_and_reads_data_twice():
    inputs = keras.Input((2,), name="image")
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    x, data = np.arange(600.0).reshape(300, 2), Batches()
    for given, last in (((x, x), 510.0), (data, 2.0), (data, 2.0), (iter([x]), 510.0)):
        samples = calibration_samples(model, given)
        assert len(samples) == 256
        assert samples[-1]["image"].shape == (1, 2)
        assert samples[-1]["image"][0, 0] == last


def recurrent():
    inputs = keras.Input((6, 4))
    x = layers.LayerNormalization()(layers.LSTM(5, return_sequences=True)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.GRU(4)(x)))


def text():
    inputs = keras.Input((8,), dtype="int32", name="tokens")
    x = layers.Conv1D(6, 3, activation="relu")(layers.Embedding(20, 5)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling1D()(x)))


@pytest.mark.parametrize("build", [recurrent, text])
def test_scalar_tensors_in_a_file(build, tmp_path):
    model = models.randomize(build())
    rng = np.random.default_rng(0)
    x = rng.integers(0, 20, (9, *model.input_shape[1:])).astype(model.input.dtype)
    path = to_litert(model, tmp_path / "model.tflite")
    assert arena_bytes(path) > 4 * 3
    assert benchmark_litert(path, runs=2, warmup=0).arena_bytes == arena_bytes(path)
    result = compare(model, model, (x, np.zeros(9, int)), rounds=1, verbose=False)
    assert result.dense["file_error"] < 1e-5


def test_recurrent_layers_in_int8(tmp_path):
    """A loop in it ended the process."""
    model = models.randomize(recurrent())
    x = np.random.default_rng(0).random((20, *model.input_shape[1:])).astype("float32")
    path = to_litert(model, tmp_path / "model.tflite", "int8", x)
    assert np.isfinite(litert_error(model, path, x))
    assert not any(getattr(layer, "unroll", False) for layer in model.layers)


class Loop(layers.Layer):
    def call(self, x):
        return ops.fori_loop(0, 3, lambda k, y: 0.5 * y, x)


def test_other_loops_in_int8_are_refused(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Loop()(inputs))
    with pytest.raises(ValueError, match="loops.*Received: .*While"):
        to_litert(model, tmp_path / "model.tflite", "int8", np.zeros((1, 3)))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_arena_holds_activations_only(precision, tmp_path):
    inputs = keras.Input((64,))
    x = layers.Dense(32, use_bias=False)(inputs)
    model = keras.Model(inputs, layers.Dense(16, use_bias=False)(x))
    path = to_litert(model, tmp_path / "model.tflite", precision)
    assert arena_bytes(path) == 4 * (64 + 32 + 16)  # inputs stay


def test_compare_on_structures():
    model = models.randomize(detector())
    x = inputs_of(model)
    labels = model.predict(x, verbose=0)

    def accuracy(labels, outputs):
        return float(np.mean((labels["boxes"] > 0) == (outputs["boxes"] > 0)))

    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(5)
    result = compare(model, model, data, accuracy=accuracy, rounds=1, verbose=False)
    assert result.compact["accuracy"] > 0.99
    with pytest.raises(ValueError, match="Several outputs need `accuracy`.*Received"):
        compare(model, model, data, verbose=False)


class TrainsUnlessTold(layers.Layer):
    def __init__(self, inner=None, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x, training=True):
        x = x * 9.0 if training else x
        return x if self.inner is None else self.inner(x)


def test_inference_mode_is_exported(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.RandomFlip()(layers.RandomRotation(0.1)(inputs))
    x = TrainsUnlessTold(TrainsUnlessTold())(x)
    nested = keras.Model(inputs, layers.RandomContrast(0.5)(x))
    model = keras.Sequential([inputs, nested, layers.Flatten(), layers.Dense(2)])
    models.randomize(model)
    path = to_litert(model, tmp_path / "model.tflite")
    x = inputs_of(nested)
    np.testing.assert_allclose(run_litert(path, x), model.predict(x, verbose=0), 1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool", "float16"])
def test_dtypes_of_inputs(dtype, tmp_path):
    inputs = keras.Input((5,), dtype=dtype)
    x = layers.Dense(4, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    model = models.randomize(keras.Model(inputs, layers.Dense(2)(x)))
    high = 2 if dtype == "bool" else 200
    x = np.random.default_rng(0).integers(0, high, (20, 5)).astype(dtype)
    for precision in ("fp32", "int8"):
        path = to_litert(model, tmp_path / "model.tflite", precision, x)
        assert error_of(model.predict(x, verbose=0), run_litert(path, x)) < 0.1


def test_images_in_bytes_for_an_int8_file(tmp_path):
    inputs = keras.Input((5,))
    model = models.randomize(keras.Model(inputs, layers.Dense(3)(inputs)))
    x = np.random.default_rng(0).integers(0, 256, (20, 5)).astype("uint8")
    path = to_litert(model, tmp_path / "model.tflite", "int8", x)
    assert error_of(model.predict(x, verbose=0), run_litert(path, x)) < 0.1


def test_strings_are_refused(tmp_path):
    inputs = keras.Input((1,), dtype="string", name="title")
    tokens = layers.StringLookup(vocabulary=["a"])(inputs)
    x = layers.Dense(2)(layers.Flatten()(layers.Embedding(3, 2)(tokens)))
    with pytest.raises(ValueError, match="numbers.*Received: input 'title'"):
        to_litert(keras.Model(inputs, x), tmp_path / "model.tflite")


class OtherInAGraph(layers.Layer):
    """Computes one thing when called and another one when traced."""

    def call(self, x):
        return x + (0.0 if tf.executing_eagerly() else 0.5)


def test_a_file_that_differs_is_an_error_and_not_written(tmp_path):
    inputs = keras.Input((4,))
    outputs = {"head": OtherInAGraph()(layers.Dense(3)(inputs))}
    model = keras.Model(inputs, outputs, name="network")
    path = tmp_path / "model.tflite"
    path.write_bytes(b"what was there")
    for precision in ("fp32", "fp16"):
        with pytest.raises(RuntimeError, match="unchanged.*Received: .*'network'.*hea"):
            to_litert(model, path, precision)
    assert path.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_a_bad_int8_file_is_a_warning_with_its_error(tmp_path):
    inputs = keras.Input((4,))
    # The difference of two numbers is far smaller than a step of their range.
    x = layers.Dense(3)(inputs)
    model = models.randomize(keras.Model(inputs, ((x + 1e4) * 1.0 - 1e4) * 1.0))
    data = inputs_of(model)
    with pytest.warns(UserWarning, match="int8 file .* its error is .*%"):
        to_litert(model, tmp_path / "m.tflite", "int8", data)


def test_a_dead_network_in_int8_still_runs(tmp_path):
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, bias_initializer=keras.initializers.Constant(-99.0))(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(layers.ReLU()(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    x = np.random.default_rng(0).random((9, 8, 8, 1)).astype("float32")
    with pytest.warns(UserWarning, match="without XNNPACK"):
        path = to_litert(model, tmp_path / "model.tflite", "int8", x)
    with pytest.warns(UserWarning, match="without XNNPACK"):
        assert run_litert(path, x).shape == (9, 4, 4, 2)


def ill_conditioned():
    """The difference of two sums that hardly differ: rounding decides."""
    inputs = keras.Input((64,))
    x = layers.Dense(64, name="a", use_bias=False)(inputs)
    far = ops.sum(x, -1, keepdims=True) + 3e6
    return keras.Model(inputs, far - ops.mean(x * 1.0, -1, keepdims=True) - 3e6)


def roots():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(3)(ops.log(inputs) + ops.sqrt(inputs)))


def table_of_floats():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Flatten()(layers.Embedding(10, 2)(inputs)))


@pytest.mark.parametrize("build", [roots, table_of_floats])
def test_what_random_inputs_do_not_suit(build, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_litert(build(), tmp_path / "model.tflite")


def test_rounding_is_not_taken_for_an_error(tmp_path):
    model = models.randomize(ill_conditioned())
    path = str(tmp_path / "model.tflite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        to_litert(model, path)


def test_a_model_that_draws_is_not_taken_for_an_error(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    path = to_litert(model, tmp_path / "model.tflite")

    class Draws(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)

        def call(self, x):
            return x + keras.random.normal((3,), seed=self.seed)

    drawing = keras.Model(inputs, Draws()(model(inputs)))
    state = np.array(drawing.layers[-1].seed.state)
    with pytest.warns(UserWarning, match="could not be compared"):
        check.check_file(drawing, path, "fp32", None)
    np.testing.assert_array_equal(drawing.layers[-1].seed.state, state)
