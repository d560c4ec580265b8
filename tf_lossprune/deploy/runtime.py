"""Runs LiteRT files with the runtime that ships (ai-edge-litert)."""

import os
import warnings
from typing import Any

import keras
import numpy as np

from tf_lossprune.deploy.structure import by_name, read_structure
from tf_lossprune.types import Path


def run_litert(path: Path, x: Any) -> Any:
    """Predicts with a LiteRT file, one call per batch of the file's size.

    Args:
        path: Path of a `.tflite` file.
        x: Array `(samples, ...)`; converted to the input's dtype. Where the input is
            quantised (int8), all but int8 is quantised with the file's own scale. For
            several inputs, what the model's `predict` takes, or a dict by their names
            in the file; lists are in the file's order where `to_litert` did not make
            it.

    Returns:
        Array `(samples, ...)` of outputs; floats, also where they are quantised. Of a
        file with several outputs, what the model's `predict` returns (a dict by their
        names where `to_litert` did not make the file).

    Raises:
        ImportError: If ai-edge-litert is missing.
        TypeError: If `path` is not a path.
        ValueError: If there is no such file, or if `x` does not fit its inputs.

    Example:
        >>> logits = run_litert("compact.tflite", x_test)
    """
    interpreter = open_interpreter(path)
    sources, targets = input_output_details(interpreter)
    with open(path, "rb") as file:
        structure = read_structure(file.read()) or plain_structure(sources, targets)
    arrays = named_arrays(structure, x)
    outputs = _run(interpreter, sources, targets, arrays)
    return keras.tree.map_structure(lambda name: outputs[name], structure["outputs"])


def run_named(path: Path, arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """As `run_litert`, from arrays by name to arrays by name."""
    interpreter = open_interpreter(path)
    sources, targets = input_output_details(interpreter)
    return _run(interpreter, sources, targets, arrays)


def input_output_details(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Details of a file's inputs and outputs, by name."""
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner()
        return runner.get_input_details(), runner.get_output_details()
    sources, targets = interpreter.get_input_details(), interpreter.get_output_details()
    return {d["name"]: d for d in sources}, {d["name"]: d for d in targets}


def plain_structure(sources: dict[str, Any], targets: dict[str, Any]) -> dict[str, Any]:
    """The structures of a file that does not say them."""
    by_position = sorted(targets, key=lambda name: (len(name), name))
    outputs: Any = {name: name for name in targets}
    if all(name.startswith("output_") for name in targets):
        outputs = by_position
    inputs = list(sources)
    return {
        "inputs": inputs[0] if len(inputs) == 1 else inputs,
        "outputs": by_position[0] if len(targets) == 1 else outputs,
    }


def named_arrays(structure: dict[str, Any], x: Any) -> dict[str, Any]:
    """Inputs by the names of the file, or `ValueError` if they do not fit."""
    arrays = by_name(structure["inputs"], x)
    if arrays is None:
        shown = keras.tree.map_structure(lambda v: getattr(v, "shape", type(v)), x)
        raise ValueError(
            "Expected x with the structure of the file's inputs, "
            f"{structure['inputs']}. Received: {shown}"
        )
    return arrays


def _run(
    interpreter: Any,
    sources: dict[str, Any],
    targets: dict[str, Any],
    arrays: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Runs an interpreter over all samples, in batches of the file's size."""
    arrays = {n: quantized(np.asarray(arrays[n]), s) for n, s in sources.items()}
    batch, count = batch_size(sources, arrays)
    resized = False
    for name, source in sources.items():
        shape = (batch, *arrays[name].shape[1:])
        if tuple(source["shape"]) != shape:
            interpreter.resize_tensor_input(source["index"], shape)
            resized = True
    if resized:
        interpreter.allocate_tensors()
    found: dict = {name: [] for name in targets}
    for start in range(0, count, batch):
        for name, source in sources.items():
            part = arrays[name][start : start + batch]
            interpreter.set_tensor(source["index"], part)
        interpreter.invoke()
        for name, target in targets.items():
            found[name].append(interpreter.get_tensor(target["index"]))
    return {name: _joined(found[name], target) for name, target in targets.items()}


def _joined(parts: list, target: dict[str, Any]) -> np.ndarray:
    join = np.concatenate if np.ndim(parts[0]) else np.stack
    return real(join(parts), target)


def batch_size(sources: dict[str, Any], arrays: dict[str, Any]) -> tuple[int, int]:
    """How many samples are run at a time, and how many there are."""
    batches = set()
    for name, source in sources.items():
        x, (batch, *sample) = arrays[name], source["shape_signature"]
        fits = x.ndim == len(sample) + 1 and all(
            wanted in (-1, size) for wanted, size in zip(sample, x.shape[1:])
        )
        if not fits:
            expected = ("samples", *(int(size) for size in sample))
            which = "" if len(sources) == 1 else f" for input {name!r}"
            raise ValueError(
                f"Expected x with shape {expected}{which}. Received: {x.shape}"
            )
        if not len(x):
            raise ValueError(
                f"Expected x with at least one sample. Received: {x.shape}"
            )
        batches.add(int(batch))
    counts = {len(x) for x in arrays.values()}
    if len(counts) > 1:
        raise ValueError(
            "Expected x with equally many samples for every input. "
            f"Received: {sorted(counts)}"
        )
    count = counts.pop()
    fixed = {batch for batch in batches if batch > 0}
    batch = max(fixed) if fixed else count
    if count % batch:
        shapes = [x.shape for x in arrays.values()]
        raise ValueError(
            f"Expected a number of samples that is a multiple of {batch}, as the file "
            f"takes that many at a time. Received: {shapes[0]}"
        )
    return batch, count


def quantized(x: np.ndarray, source: dict[str, Any]) -> np.ndarray:
    """An array in the dtype of an input; other dtypes with its scale and zero point."""
    dtype, (scale, zero) = source["dtype"], source["quantization"]
    if scale and x.dtype != dtype:
        limits = np.iinfo(dtype)
        x = np.clip(np.rint(x / scale) + zero, limits.min, limits.max)
    return x.astype(dtype)


def real(y: np.ndarray, target: dict[str, Any]) -> np.ndarray:
    """An output's values as floats if it has a scale."""
    scale, zero = target["quantization"]
    if not scale:
        return y
    return ((y.astype(np.float32) - zero) * scale).astype(np.float32)


def open_interpreter(path: Path, threads: int = 1, content: bytes | None = None) -> Any:
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
    litert = _litert()
    kernels = litert.OpResolverType
    source = {"model_path": path, "num_threads": int(threads)}
    if content is not None:
        source = {
            "model_content": content,
            "experimental_op_resolver_type": kernels.BUILTIN_REF,
        }
    try:
        interpreter = litert.Interpreter(**source)
    except ValueError as error:
        raise _no_litert_file(path, error) from error
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        plain = kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        source.setdefault("experimental_op_resolver_type", plain)
        interpreter = litert.Interpreter(**source)
        interpreter.allocate_tensors()
        warnings.warn(
            f"LiteRT runs {path!r} without XNNPACK, its fast kernels ({error}). In "
            "int8 this happens where activations are always zero.",
            stacklevel=3,
        )
    return interpreter


def checked_file(path: Path) -> str:
    """The path of an existing file as a string, or a helpful error."""
    try:
        path = os.fspath(path)
    except TypeError:
        raise TypeError(
            f"Expected the path of a .tflite file. Received: {path!r}"
        ) from None
    if not os.path.isfile(path):
        raise ValueError(f"Expected path as an existing file. Received: {path!r}")
    return path


def verified_file(path: Path) -> str:
    """As `checked_file`; raises `ValueError` for what is no whole LiteRT file.

    Tools that do not verify what they read can end the whole process.
    """
    path = checked_file(path)
    try:
        _litert().Interpreter(model_path=path)
    except ValueError as error:
        raise _no_litert_file(path, error) from error
    return path


def _litert() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise ImportError(
            "Running LiteRT files needs ai-edge-litert: pip install ai-edge-litert"
        ) from error
    return interpreter


def _no_litert_file(path: str, error: Exception) -> ValueError:
    return ValueError(
        f"Expected path as that of a LiteRT file ({error}). Received: {path!r}"
    )
