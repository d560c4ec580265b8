"""Runs and times LiteRT files with the runtime that ships (ai-edge-litert)."""

import dataclasses
import os
import time

import numpy as np


@dataclasses.dataclass(frozen=True)
class LitertBenchmark:
    """What one LiteRT file costs on this machine.

    Attributes:
        median_ms: Median time of one call, in milliseconds.
        p10_ms: The 10th percentile, in milliseconds.
        p90_ms: The 90th percentile, in milliseconds.
        file_bytes: Size of the file.
        runs: Number of calls that were timed.
        threads: Number of threads the runtime was given.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    file_bytes: int
    runs: int
    threads: int


def run_litert(path, x):
    """Predicts with a LiteRT file, one call per batch of the file's size.

    Args:
        path: Path of a `.tflite` file with one input and one output.
        x: Array `(samples, ...)`; converted to the input's dtype.

    Returns:
        Array `(samples, ...)` of outputs.

    Raises:
        ImportError: If ai-edge-litert is missing.
        TypeError: If `path` is not a path.
        ValueError: If there is no such file, if it has several inputs or outputs,
            or if `x` does not fit its input.

    Example:
        >>> logits = run_litert("compact.tflite", x_test)
    """
    interpreter = _interpreter(path, threads=1)
    source = _only(interpreter.get_input_details(), "input", path)
    target = _only(interpreter.get_output_details(), "output", path)
    x = np.asarray(x, dtype=source["dtype"])
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
    return np.concatenate(outputs)


def benchmark_litert(path, threads=1, runs=50, warmup=10):
    """Times a LiteRT file on random input.

    Compare files measured right after one another: the figures of a machine which
    does other work at the same time drift.

    Args:
        path: Path of a `.tflite` file.
        threads: Number of threads.
        runs: Number of calls to time.
        warmup: Number of calls before that, not timed.

    Returns:
        A `LitertBenchmark`.

    Raises:
        ImportError: If ai-edge-litert is missing.
        TypeError: If `path` is not a path, or a count is not a whole number.
        ValueError: If there is no such file, or a count is too small.

    Example:
        >>> benchmark_litert("compact.tflite").median_ms < 2.0
        True
    """
    for name, value, least in (
        ("threads", threads, 1),
        ("runs", runs, 1),
        ("warmup", warmup, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"`{name}` must be a whole number. Received: {value!r}")
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}. Received: {value}")
    interpreter = _interpreter(path, threads)
    _fill_inputs(interpreter)
    for _ in range(warmup):
        interpreter.invoke()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e3)
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    size = os.path.getsize(path)
    return LitertBenchmark(median, p10, p90, size, int(runs), int(threads))


def times_in_turns(paths, threads=1, rounds=7, block_ms=10.0):
    """Times several LiteRT files in turns, so that they meet the same disturbances.

    Args:
        paths: List of paths of `.tflite` files.
        threads: Number of threads.
        rounds: Number of turns; each file's median over the turns counts.
        block_ms: About how long a file is run in one turn, in milliseconds.

    Returns:
        List of milliseconds of one call, in the order of `paths`.

    Raises:
        ImportError: If ai-edge-litert is missing.
        TypeError: If an entry is not a path.
        ValueError: If there is no such file, or `rounds` is below 1.

    Example:
        >>> dense_ms, compact_ms = times_in_turns(["dense.tflite", "compact.tflite"])
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1. Received: {rounds!r}")
    interpreters = [_interpreter(path, threads) for path in paths]
    for interpreter in interpreters:
        _fill_inputs(interpreter)
    found = np.zeros((rounds, len(interpreters)))
    for turn in range(rounds):
        for index, interpreter in enumerate(interpreters):
            found[turn, index] = _block_median(interpreter, block_ms)
    return [float(time) for time in np.median(found, axis=0)]


def _block_median(interpreter, block_ms):
    interpreter.invoke()  # caches hold the file that was timed before
    times, end = [], time.perf_counter() + block_ms / 1e3
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e3)
    return np.median(times)


def _fill_inputs(interpreter):
    rng = np.random.default_rng(0)
    for source in interpreter.get_input_details():
        value = rng.uniform(0.0, 1.0, source["shape"]).astype(source["dtype"])
        interpreter.set_tensor(source["index"], value)


def _interpreter(path, threads):
    try:
        path = os.fspath(path)
    except TypeError:
        raise TypeError(
            f"`path` must be the path of a .tflite file. Received: {path!r}"
        ) from None
    if not os.path.isfile(path):
        raise ValueError(f"`path` must be an existing file. Received: {path!r}")
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            "Running LiteRT files needs ai-edge-litert: pip install ai-edge-litert"
        ) from error
    try:
        interpreter = Interpreter(model_path=path, num_threads=int(threads))
    except ValueError as error:
        raise ValueError(
            f"`path` must be a LiteRT file ({error}). Received: {path!r}"
        ) from error
    interpreter.allocate_tensors()
    return interpreter


def _only(details, kind, path):
    if len(details) != 1:
        raise ValueError(
            f"The file must have one {kind}. Received: {len(details)} in {path!r}"
        )
    return details[0]
