"""Conversion of a Keras model to a LiteRT (`.tflite`) file."""

import contextlib
import os
import re
import tempfile
from typing import Any

import keras
import numpy as np

from tf_lossprune.precision import check_precision
from tf_lossprune.types import Path

#: Samples with which the ranges of an int8 file are found.
CALIBRATION_SAMPLES = 256


def to_litert(
    model: keras.Model,
    path: Path,
    precision: str = "fp32",
    representative_data: Any = None,
) -> str:
    """Converts a Keras model to a LiteRT file for one sample at a time.

    The batch is fixed to 1, which lets the runtime plan its memory and hand the
    whole graph to its fast kernels. Only LiteRT's own operations are allowed: a
    file that needs more would not run on a device. A model with a mixed-precision
    policy is converted as if it were float32. The model is not changed.

    Args:
        model: A built functional or sequential `keras.Model`, for example what
            `strip_pruning` returned.
        path: Path of the file to write, ending in `.tflite`; its folder is made
            where it is missing.
        precision: string. `"fp32"`; `"fp16"`, weights stored in half the bytes;
            `"int8"`, weights, activations, input and output in 8 bits; or
            `"int8_fp32_io"`, the same with float32 input and output.
        representative_data: for int8: typical inputs, an array `(samples, ...)` or
            a `tf.data.Dataset` of batches (of inputs, or of pairs with labels).
            The ranges of the activations are taken from up to 256 of them.

    Returns:
        The path, a string.

    Raises:
        TypeError: If `model` is not a Keras 3 model or `path` is not a path.
        ValueError: If the model is not built or is still being pruned, if `path`
            does not end in `.tflite`, for an unknown precision, for int8 without
            data or with several inputs, if LiteRT lacks an operation, or on another
            backend than TensorFlow.

    Example:
        >>> path = to_litert(strip_pruning(pruned), "compact.tflite")
    """
    path = checked_path(path)
    check_convertible(model)
    _check_backend()
    samples = calibration_samples(model, precision, representative_data)
    model = as_float32(model)
    # Imported here: nothing before this stage needs TensorFlow.
    import tensorflow as tf

    signature = keras.tree.map_structure(
        lambda tensor: keras.InputSpec(
            dtype=tensor.dtype, shape=(1, *tensor.shape[1:])
        ),
        model.inputs[0] if isinstance(model, keras.Sequential) else model.input,
    )

    def make_converter():
        # Through a SavedModel: `export(format="litert")` takes a signature only from
        # Keras 3.15 on, and without one the batch stays open.
        model.export(folder, verbose=False, input_signature=[signature])
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        _set_precision(converter, precision, samples)
        return converter

    with tempfile.TemporaryDirectory() as folder:
        return write_litert(make_converter, path, model.name)


def _check_backend():
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Converting to LiteRT takes Keras' TensorFlow backend: save the model as a "
            ".keras file and load it in a process with KERAS_BACKEND=tensorflow. "
            f"Received: the backend {keras.backend.backend()!r}"
        )


def write_litert(make_converter, path, name):
    """Converts and writes a file; names the operations that LiteRT lacks.

    Args:
        make_converter: Function without arguments that returns a
            `tf.lite.TFLiteConverter`.
        path: Path of the file; its folder is made where it is missing.
        name: Name of the model for messages.

    Returns:
        The path.

    Raises:
        ValueError: If LiteRT lacks an operation.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with _captured_stderr() as read_log:
        try:
            content = make_converter().convert()
        except Exception as error:
            log = f"{error}\n{read_log()}"
            missing = re.findall(r"^(?:Custom|TF Select) ops: (.*)$", log, re.M)
            if not missing:
                raise
            operations = ", ".join(sorted(set(", ".join(missing).split(", "))))
            raise ValueError(
                "The model must consist of operations that LiteRT has. "
                f"Received: {operations} (model {name!r})"
            ) from error
    with open(path, "wb") as file:
        file.write(content)
    return path


def convert_to_measure(model, path, precision):
    """`to_litert` where only size or speed counts, which int8 ranges do not change.

    Args:
        model, path, precision: as in `to_litert`.
    """
    return to_litert(model, path, precision, _random_samples(model, precision))


def convert_operation(model, path, precision):
    """Writes a network of a single operation, in half the time `to_litert` takes.

    Args:
        model: functional `keras.Model` without state.
        path: path of the file.
        precision: string, as in `to_litert`; int8 gets ranges of random inputs.

    Raises:
        ValueError: on another backend than TensorFlow.
    """
    _check_backend()
    import tensorflow as tf

    @tf.function
    def function(*inputs):
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    specs = [tf.TensorSpec((1, *t.shape[1:]), t.dtype) for t in model.inputs]
    samples = calibration_samples(model, precision, _random_samples(model, precision))
    with _captured_stderr():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function.get_concrete_function(*specs)], model
        )
        _set_precision(converter, precision, samples)
        content = converter.convert()
    with open(path, "wb") as file:
        file.write(content)


def _random_samples(model, precision):
    """Inputs for int8 ranges, where only speed or size counts; None for floats.

    Args:
        model: `keras.Model` with one input.
        precision: string.
    """
    if not precision.startswith("int8"):
        return None
    shape = [d or 1 for d in model.inputs[0].shape[1:]]
    return np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")


def calibration_samples(model, precision, data):
    """Batches of one sample each for the ranges of int8; None for floats."""
    if not check_precision(precision).startswith("int8"):
        return None
    if data is None:
        raise ValueError(
            "int8 needs `representative_data`: an array of typical inputs, or a "
            "dataset. Received: None"
        )
    if len(model.inputs) != 1:
        raise ValueError(
            "int8 conversion takes models with one input. Received: "
            f"{len(model.inputs)} inputs (model {model.name!r})"
        )
    batches = [data] if hasattr(data, "shape") else data
    samples, shape = [], model.inputs[0].shape[1:]
    for batch in batches:
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        x = np.asarray(x, model.inputs[0].dtype)
        if x.shape[1:] != tuple(s or d for s, d in zip(shape, x.shape[1:])):
            raise ValueError(
                f"`representative_data` must hold samples of shape {shape}. "
                f"Received: {x.shape[1:]}"
            )
        samples += [x[i : i + 1] for i in range(len(x))]
        if len(samples) >= CALIBRATION_SAMPLES:
            break
    if not samples:
        raise ValueError(
            "`representative_data` must hold at least one sample. Received: none"
        )
    return samples[:CALIBRATION_SAMPLES]


def _set_precision(converter, precision, samples):
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "fp32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
        return
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    if precision == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8


def checked_path(path):
    try:
        path = os.fspath(path)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise TypeError(f"`path` must be a path ending in .tflite. Received: {path!r}")
    if not path.endswith(".tflite"):
        raise ValueError(f"`path` must end in .tflite. Received: {path!r}")
    return path


def check_convertible(model):
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise TypeError(f"`model` must be a Keras 3 `keras.Model`. Received: {kind}")
    # Asked by what it can do, as the wrapped model's class lives in another stage.
    if callable(getattr(model, "keep_ratios", None)):
        raise ValueError(
            "`model` is still being pruned; convert `strip_pruning(model)`. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    if not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a built functional or sequential model. "
            f"Received: {type(model).__name__} {model.name!r}"
        )


def as_float32(model):
    """The model itself, or a float32 copy if a layer computes in another type."""
    if all(layer.compute_dtype == "float32" for layer in _leaves(model)):
        return model

    def in_float32(layer):
        config = layer.get_config()
        if not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=in_float32, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _leaves(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer


@contextlib.contextmanager
def _captured_stderr():
    """Keeps the converter's messages, which C++ code writes, off the terminal.

    Yields:
        A function that returns what was written so far.
    """
    with tempfile.TemporaryFile() as log:

        def read_log():
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            terminal = os.dup(2)
        except OSError:  # There is no standard error stream to keep quiet.
            yield read_log
            return
        os.dup2(log.fileno(), 2)
        try:
            yield read_log
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
