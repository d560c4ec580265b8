"""Runs LiteRT files with the runtime that ships (ai-edge-litert)."""

import os
from typing import Any

import numpy as np

from tf_lossprune.types import Path


def run_litert(path: Path, x: Any) -> Any:
    """Predicts with a LiteRT file, one call per batch of the file's size.

    Args:
        path: Path of a `.tflite` file with one input and one output.
        x: Array `(samples, ...)`; converted to the input's dtype. Where the input is
            quantised (int8), floats are quantised with the file's own scale.

    Returns:
        Array `(samples, ...)` of outputs; floats, also where they are quantised.

    Raises:
        ImportError: If ai-edge-litert is missing.
        TypeError: If `path` is not a path.
        ValueError: If there is no such file, if it has several inputs or outputs,
            or if `x` does not fit its input.

    Example:
        >>> logits = run_litert("compact.tflite", x_test)
    """
    interpreter = open_interpreter(path)
    source = _only(interpreter.get_input_details(), "input", path)
    target = _only(interpreter.get_output_details(), "output", path)
    x = _quantized(np.asarray(x), source)
    batch, *sample = source["shape_signature"]
    fits = x.ndim == len(sample) + 1 and all(
        wanted in (-1, size) for wanted, size in zip(sample, x.shape[1:], strict=True)
    )
    if not fits:
        expected = ("samples", *(int(size) for size in sample))
        raise ValueError(f"`x` must have shape {expected}. Received: {x.shape}")
    if not len(x):
        raise ValueError(f"`x` must hold at least one sample. Received: {x.shape}")
    batch = len(x) if batch < 0 else int(batch)
    if len(x) % batch:
        raise ValueError(
            f"The file takes {batch} samples at a time, so the number of samples "
            f"must be a multiple of that. Received: {x.shape}"
        )
    if tuple(source["shape"]) != (batch, *x.shape[1:]):
        interpreter.resize_tensor_input(source["index"], (batch, *x.shape[1:]))
        interpreter.allocate_tensors()
    outputs = []
    for start in range(0, len(x), batch):
        interpreter.set_tensor(source["index"], x[start : start + batch])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target["index"]))
    return _real(np.concatenate(outputs), target)


def _quantized(x, source):
    """An array in the dtype of an input; floats with its scale and zero point."""
    dtype, (scale, zero) = source["dtype"], source["quantization"]
    if scale and np.issubdtype(x.dtype, np.floating):
        limits = np.iinfo(dtype)
        x = np.clip(np.rint(x / scale) + zero, limits.min, limits.max)
    return x.astype(dtype)


def _real(y, target):
    """An output's values as floats if it has a scale."""
    scale, zero = target["quantization"]
    if not scale:
        return y
    return ((y.astype(np.float32) - zero) * scale).astype(np.float32)


def fill_inputs(interpreter):
    """Gives an interpreter random inputs."""
    rng = np.random.default_rng(0)
    for source in interpreter.get_input_details():
        value = _quantized(rng.uniform(0.0, 1.0, source["shape"]), source)
        interpreter.set_tensor(source["index"], value)


def open_interpreter(path, threads=1, content=None):
    """Opens a file for running.

    Args:
        path: Path of a `.tflite` file.
        threads: Number of threads.
        content: None, or the file's bytes: then they are run where they lie in
            memory, with the reference kernels, which show every tensor.

    Returns:
        An `ai_edge_litert.interpreter.Interpreter` with its memory allocated.

    Raises:
        ImportError, TypeError, ValueError: As `run_litert`.
    """
    path = checked_file(path)
    try:
        from ai_edge_litert import interpreter as litert
    except ImportError as error:
        raise ImportError(
            "Running LiteRT files needs ai-edge-litert: pip install ai-edge-litert"
        ) from error
    source = {"model_path": path, "num_threads": int(threads)}
    if content is not None:
        kernels = litert.OpResolverType.BUILTIN_REF
        source = {"model_content": content, "experimental_op_resolver_type": kernels}
    try:
        interpreter = litert.Interpreter(**source)
    except ValueError as error:
        raise ValueError(
            f"`path` must be a LiteRT file ({error}). Received: {path!r}"
        ) from error
    interpreter.allocate_tensors()
    return interpreter


def checked_file(path):
    """The path of an existing file as a string, or a helpful error."""
    try:
        path = os.fspath(path)
    except TypeError:
        raise TypeError(
            f"`path` must be the path of a .tflite file. Received: {path!r}"
        ) from None
    if not os.path.isfile(path):
        raise ValueError(f"`path` must be an existing file. Received: {path!r}")
    return path


def _only(details, kind, path):
    if len(details) != 1:
        raise ValueError(
            f"The file must have one {kind}. Received: {len(details)} in {path!r}"
        )
    return details[0]
