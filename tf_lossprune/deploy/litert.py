"""Conversion of a Keras model to a LiteRT (`.tflite`) file."""

import os
import re
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import keras

from tf_lossprune.deploy.check import check_file
from tf_lossprune.deploy.modes import in_float32, unrolled
from tf_lossprune.deploy.samples import Sample, calibration_samples, random_samples
from tf_lossprune.deploy.streams import captured_stderr
from tf_lossprune.deploy.structure import (
    input_names,
    input_tensors,
    named_outputs,
    with_structure,
)
from tf_lossprune.deploy.wide_kernels import in_pieces
from tf_lossprune.precision import check_precision
from tf_lossprune.types import Path
from tf_lossprune.values import numpy_of

#: Random samples for ranges where only size or speed counts.
_RANDOM_SAMPLES = 4


def to_litert(
    model: keras.Model,
    path: Path,
    precision: str = "fp32",
    representative_data: Any = None,
) -> str:
    """Converts a Keras model to a LiteRT file for one sample at a time.

    The batch is fixed to 1, which lets the runtime plan its memory and hand the
    whole graph to its fast kernels. Only LiteRT's own operations are allowed: a
    file that needs more would not run on a device. Inputs and outputs are named as in
    `model.export(format="litert")`. A model with a mixed-precision policy is converted
    as if it were float32; in int8, recurrent layers are unrolled; in floats, depthwise
    convolutions with more than 25 taps (7x7), at which LiteRT's kernels are slow, are
    computed as sums of such with fewer. The model is not changed.

    Before the file is written, it is run and compared with the model in inference
    mode: one inference each. Floats must agree (within 1e-3, with fp16 weights 1e-2, of
    the largest output, or within what rounding does to a network that amplifies it);
    if the error of int8 exceeds 30 % of the output (root mean square), there is a
    warning. `deploy.litert_error` gives the figure.

    Args:
        model: A built functional or sequential `keras.Model`, for example what
            `strip_pruning` returned.
        path: Path of the file to write, ending in `.tflite`; its folder is made
            where it is missing.
        precision: string. `"fp32"`; `"fp16"`, weights stored in half the bytes;
            `"int8"`, weights, activations, input and output in 8 bits; or
            `"int8_fp32_io"`, the same with float32 input and output.
        representative_data: for int8: typical inputs, an array `(samples, ...)`, the
            structure of arrays that `predict` takes, or a `tf.data.Dataset` or
            `PyDataset` of batches (of inputs, or of pairs with labels). The ranges of
            the activations are taken from up to 256 of them. For floats, and only for
            the comparison: None takes random inputs.

    Returns:
        The path, a string.

    Raises:
        TypeError: If `model` is not a Keras 3 model or `path` is not a path.
        ValueError: If the model is not built or is still being pruned, if `path`
            does not end in `.tflite`, for an unknown precision, for int8 without
            data, for inputs that are strings, if LiteRT lacks an operation, or on
            another backend than TensorFlow.
        RuntimeError: If the file computes something else than the model; nothing is
            written then.

    Example:
        >>> path = to_litert(strip_pruning(pruned), "compact.tflite")
    """
    path = checked_path(path)
    check_convertible(model)
    check_backend()
    samples = None
    if check_precision(precision).startswith("int8") and representative_data is None:
        raise ValueError(
            "int8 needs `representative_data`: an array of typical inputs, or a "
            "dataset. Received: None"
        )
    if representative_data is not None:
        count = {} if precision.startswith("int8") else {"count": 1}
        samples = calibration_samples(model, representative_data, **count)

    def check(written: str) -> None:
        check_file(model, written, precision, samples)

    return _convert(model, path, precision, samples, check)


def convert_to_measure(model: keras.Model, path: Path, precision: str) -> str:
    """`to_litert` where only size or speed counts, which int8 ranges do not change.

    Args:
        model, path, precision: as in `to_litert`.
    """
    path = checked_path(path)
    check_convertible(model)
    check_backend()
    return _convert(model, path, precision, _random_samples(model, precision))


def _convert(
    model: keras.Model,
    path: Path,
    precision: str,
    samples: Any,
    check: Callable[[str], None] | None = None,
) -> Any:
    """Writes the file of a model; see `write_litert`."""
    # Imported here: nothing before this stage needs TensorFlow.
    import tensorflow as tf

    int8 = precision.startswith("int8")

    def make_converter() -> Any:
        with _as_in_file(model, int8):
            operations = _export(model, folder)
        if int8:
            _check_loops(operations, model)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        # As in Keras' own export: for layers that assign to their variables.
        converter.experimental_enable_resource_variables = True
        _set_precision(converter, precision, samples)
        return converter

    def finish(content: bytes) -> bytes:
        return with_structure(content, model)

    with in_float32(model), tempfile.TemporaryDirectory() as folder:
        return write_litert(make_converter, path, model.name, finish, check)


def _as_in_file(model: keras.Model, int8: bool) -> AbstractContextManager[None]:
    """Lets layers compute as files do for a while."""
    # Partial sums in int8 would be rounded.
    return unrolled(model) if int8 else in_pieces(model)


def _export(model: keras.Model, folder: str) -> set[str]:
    """Writes a SavedModel of the inference of one sample.

    As `model.export(folder)` does it, but with `training=False`: some layers train
    where nothing is said.

    Returns:
        Names of the operations.
    """

    def serve(inputs: Any) -> Any:
        return named_outputs(model(inputs, training=False))

    signature = keras.tree.map_structure(
        lambda tensor, name: keras.InputSpec(
            dtype=tensor.dtype, shape=(1, *tensor.shape[1:]), name=name
        ),
        input_tensors(model),
        input_names(model),
    )
    archive = keras.export.ExportArchive()
    archive.track(model)
    function = archive.add_endpoint("serve", serve, input_signature=[signature])
    archive.write_out(folder, verbose=False)
    graph = function.get_concrete_function().graph
    return {operation.type for operation in graph.get_operations()}


def _check_loops(operations: set[str], model: keras.Model) -> None:
    """Raises for loops, at which the search for ranges ends the whole process."""
    loops = sorted(operations & {"While", "StatelessWhile"})
    if loops:
        raise ValueError(
            "int8 files cannot hold loops: unroll them (`unroll=True`), or convert in "
            f"'fp32' or 'fp16'. Received: {', '.join(loops)} (model {model.name!r})"
        )


def check_backend() -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Converting to LiteRT takes Keras' TensorFlow backend: save the model as a "
            ".keras file and load it in a process with KERAS_BACKEND=tensorflow. "
            f"Received: the backend {keras.backend.backend()!r}"
        )


def write_litert(
    make_converter: Callable[[], Any],
    path: Path,
    name: str,
    finish: Callable[[bytes], bytes] | None = None,
    check: Callable[[str], None] | None = None,
) -> str:
    """Converts and writes a file; names the operations that LiteRT lacks.

    Args:
        make_converter: Function without arguments that returns a
            `tf.lite.TFLiteConverter`.
        path: Path of the file; its folder is made where it is missing.
        name: Name of the model for messages.
        finish: Function from the file's bytes to those to write, or None.
        check: Function of a path that raises for a wrong file, or None: then there
            will be none at `path`.

    Returns:
        The path.

    Raises:
        ValueError: If LiteRT lacks an operation.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with captured_stderr() as read_log, warnings.catch_warnings():
        # The converter finds the ranges of int8 with it.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated")
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
    if finish is not None:
        content = finish(content)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        unchecked = os.path.join(beside, os.path.basename(path))
        with open(unchecked, "wb") as file:
            file.write(content)
        if check is not None:
            check(unchecked)
        os.replace(unchecked, path)
    return os.fspath(path)


def convert_operation(model: keras.Model, path: Path, precision: str) -> None:
    """Writes a file that is only timed, in a fraction of the time of `to_litert`.

    Args:
        model: functional `keras.Model` without state, as of a single operation.
        path: path of the file.
        precision: string, as in `to_litert`; int8 gets ranges of random inputs.

    Raises:
        ValueError: on another backend than TensorFlow; for loops in int8.
    """
    check_backend()
    import tensorflow as tf

    # As constants: a loop of a recurrent layer would look for variables in vain.
    values = [(v, tf.constant(numpy_of(v))) for v in model.variables]
    structure, int8 = input_tensors(model), precision.startswith("int8")

    @tf.function
    def function(*inputs: Any) -> Any:
        with keras.StatelessScope(values):
            given = keras.tree.pack_sequence_as(structure, list(inputs))
            return model(given, training=False)

    # A probe has a batch where something is folded into it.
    specs = [
        tf.TensorSpec((t.shape[0] or 1, *t.shape[1:]), t.dtype, f"input_{index}")
        for index, t in enumerate(keras.tree.flatten(structure))
    ]
    names = [spec.name for spec in specs]  # the file has an order of its own
    found = _random_samples(model, precision)
    samples = found and [dict(zip(names, sample.values())) for sample in found]
    with captured_stderr(), in_float32(model):
        with _as_in_file(model, int8):
            concrete = function.get_concrete_function(*specs)
        if int8:
            _check_loops({o.type for o in concrete.graph.get_operations()}, model)
        # The model itself need not be saved: the function holds all of it.
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [concrete], tf.Module()
        )
        _set_precision(converter, precision, samples)
        content = converter.convert()
    with open(path, "wb") as file:
        file.write(content)


def _random_samples(model: keras.Model, precision: str) -> list[Sample] | None:
    """Inputs for int8 ranges where only size or speed counts; None for floats."""
    if not check_precision(precision).startswith("int8"):
        return None
    return random_samples(model, _RANDOM_SAMPLES)


def _set_precision(converter: Any, precision: str, samples: Any) -> None:
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "fp32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
        return
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: iter(samples)
    if precision == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8


def checked_path(path: Any, ending: str = ".tflite") -> str:
    try:
        path = os.fspath(path)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise TypeError(f"Expected a path ending in {ending}. Received: {path!r}")
    if not path.endswith(ending):
        raise ValueError(f"Expected a path ending in {ending}. Received: {path!r}")
    return path


def check_convertible(model: Any) -> None:
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise TypeError(f"Expected a Keras 3 `keras.Model`. Received: {kind}")
    # Asked by what it can do, as the wrapped model's class lives in another stage.
    if callable(getattr(model, "keep_ratios", None)):
        raise ValueError(
            "`model` is still being pruned; convert `strip_pruning(model)`. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    if not getattr(model, "inputs", None):
        raise ValueError(
            "Expected a built functional or sequential model. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    for tensor in model.inputs:
        if tensor.dtype == "string":
            raise ValueError(
                "LiteRT files take numbers: convert the model behind its text layers, "
                "`keras.Model(layer.output, model.outputs)` with the last of them as "
                "`layer`, and run those before it. "
                f"Received: input {tensor.name!r} of strings (model {model.name!r})"
            )
