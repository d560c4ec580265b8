"""Measures files: time, memory and size."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tf_lossprune.config import check_count
from tf_lossprune.deploy.runtime import checked_file, open_interpreter
from tf_lossprune.deploy.sessions import Session, open_session
from tf_lossprune.runtimes import runtime_of
from tf_lossprune.types import Path

#: Bytes between two tensors of one block: tensors are aligned, numbers do not show.
_LARGEST_GAP = 1024
#: Milliseconds below which calls are timed several at once.
_SHORTEST_MS = 0.05


@dataclasses.dataclass(frozen=True)
class FileBenchmark:
    """What one file costs on this machine.

    Attributes:
        runtime: What ran it, one of `RUNTIMES`.
        median_ms: Median time of one call, in milliseconds.
        p10_ms: The 10th percentile, in milliseconds.
        p90_ms: The 90th percentile, in milliseconds.
        file_bytes: Size of the file, and of the weights beside it.
        arena_bytes: Peak memory of the activations in LiteRT's interpreter, see
            `arena_bytes`; None in other runtimes.
        runs: Number of calls that were timed.
        threads: Number of threads the runtime was given.
    """

    runtime: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    file_bytes: int
    arena_bytes: int | None
    runs: int
    threads: int


def benchmark_file(
    path: Path,
    runtime: str = "auto",
    threads: int = 1,
    runs: int = 50,
    warmup: int = 10,
) -> FileBenchmark:
    """Times a file on random input.

    Compare files measured right after one another, or `times_in_turns`: the figures of
    a machine which does other work at the same time drift.

    Args:
        path: Path of a `.tflite`, `.onnx` or OpenVINO `.xml` file.
        runtime: `"litert"` (the interpreter), `"compiled"` (LiteRT's `CompiledModel`),
            `"onnx"` (ONNX Runtime), `"openvino"`, or `"auto"`: the one that the file's
            ending stands for.
        threads: Number of threads.
        runs: Number of calls to time.
        warmup: Number of calls before that, not timed.

    Returns:
        A `FileBenchmark`.

    Raises:
        ImportError: If the runtime is missing; the message has the command.
        TypeError: If `path` is not a path, or a count is not a whole number.
        ValueError: If there is no such file, the runtime is unknown or does not read
            it, or a count is too small.

    Example:
        >>> benchmark_file("compact.onnx", threads=2).median_ms < 2.0
        True
    """
    check_count("threads", threads, 1)
    check_count("runs", runs, 1)
    check_count("warmup", warmup, least=0)
    path = checked_file(path)
    runtime = runtime_of(path, runtime)
    compute = _filled(open_session(path, runtime, threads))
    for _ in range(warmup):
        compute()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        compute()
        times.append((time.perf_counter() - start) * 1e3)
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    return FileBenchmark(
        runtime=runtime,
        median_ms=median,
        p10_ms=p10,
        p90_ms=p90,
        file_bytes=_bytes(path),
        arena_bytes=arena_bytes(path) if runtime == "litert" else None,
        runs=int(runs),
        threads=int(threads),
    )


def benchmark_litert(
    path: Path, threads: int = 1, runs: int = 50, warmup: int = 10
) -> FileBenchmark:
    """`benchmark_file` in LiteRT's interpreter."""
    return benchmark_file(path, "litert", threads, runs, warmup)


def times_in_turns(
    paths: Sequence[Path],
    threads: int = 1,
    rounds: int = 7,
    block_ms: float = 10.0,
    runtime: str | Sequence[str] = "auto",
) -> list[float]:
    """Times several files in turns, so that they meet the same disturbances.

    Args:
        paths: List of paths of files.
        threads: Number of threads.
        rounds: Number of turns; each file's median over the turns counts.
        block_ms: About how long a file is run in one turn, in milliseconds.
        runtime: As in `benchmark_file`, for all files or a list with one for each.

    Returns:
        List of milliseconds of one call, in the order of `paths`.

    Raises:
        ImportError: If a runtime is missing.
        TypeError: If an entry is not a path, or a count is not a whole number.
        ValueError: As `benchmark_file`.

    Example:
        >>> dense_ms, compact_ms = times_in_turns(["dense.tflite", "compact.tflite"])
    """
    found = times_of_turns(paths, threads, rounds, block_ms, runtime)
    return [float(time) for time in np.median(found, axis=0)]


def times_of_turns(
    paths: Sequence[Path],
    threads: int,
    rounds: int,
    block_ms: float = 10.0,
    runtime: str | Sequence[str] = "auto",
) -> np.ndarray:
    """As `times_in_turns`, of every turn: float array `[rounds, files]`."""
    check_count("threads", threads, 1)
    check_count("rounds", rounds, 1)
    names = [runtime] * len(paths) if isinstance(runtime, str) else list(runtime)
    if len(names) != len(paths):
        raise ValueError(
            f"Expected a runtime for each of {len(paths)} files. Received: {names}"
        )
    calls = [_filled(open_session(p, r, threads)) for p, r in zip(paths, names)]
    found = np.zeros((rounds, len(calls)))
    for turn in range(rounds):
        for index, compute in enumerate(calls):
            found[turn, index] = _block_median(compute, block_ms)
    return found


def _filled(session: Session) -> Callable[[], Any]:
    """What computes a network once on random inputs."""
    rng = np.random.default_rng(0)
    return session.feed(
        {
            name: rng.uniform(0.0, 1.0, [max(size, 1) for size in shape])
            for name, (shape, _) in session.inputs.items()
        }
    )


def _bytes(path: str) -> int:
    """Size of a file, and of the weights that lie beside an OpenVINO one."""
    base, ending = os.path.splitext(path)
    beside = [f"{base}.bin"] if ending == ".xml" else []
    return sum(os.path.getsize(p) for p in (path, *filter(os.path.exists, beside)))


def arena_bytes(path: Path) -> int:
    """Bytes of the memory in which LiteRT plans a file's activations.

    Without a delegate, the interpreter shows where in memory every tensor lies; what
    counts is the block that holds the inputs, from its first to its last byte. Weights
    that a file with fp16 weights unpacks lie in another one. The kernels are the
    reference ones, which have no scratch space, as on a microcontroller; those for a
    desktop's processor unfold the images of a convolution into a scratch tensor, which
    can be larger than all activations together. The tensors of a loop's body (a
    recurrent layer that is not unrolled) do not show.

    Args:
        path: Path of a `.tflite` file.

    Returns:
        int, bytes.

    Raises:
        ImportError: If ai-edge-litert is missing.
        TypeError: If `path` is not a path.
        ValueError: If there is no such file, or it is not a LiteRT file.

    Example:
        >>> arena_bytes("compact.tflite") < arena_bytes("dense.tflite")
        True
    """
    with open(checked_file(path), "rb") as file:
        content = file.read()
    interpreter = open_interpreter(path, content=content)
    start = np.frombuffer(content, np.uint8).ctypes.data
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    found = []
    for tensor in interpreter.get_tensor_details():
        if not len(tensor["shape"]):  # a number is read, not shown, even from nowhere
            continue
        try:
            view = interpreter.tensor(tensor["index"])()
        except ValueError:  # merged away: it has no memory
            continue
        address = view.ctypes.data
        if not start <= address < start + len(content):  # else a constant
            end = address + view.nbytes
            found.append((address, end, tensor["index"] in inputs))
    return sum(end - begin for begin, end, given in _blocks(sorted(found)) if given)


def _blocks(tensors: Iterable[Any]) -> list:
    """Blocks of memory `(begin, end, whether an input is in it)` of sorted tensors."""
    blocks: list = []
    for begin, end, given in tensors:
        if blocks and begin - blocks[-1][1] <= _LARGEST_GAP:
            first, last, before = blocks.pop()
            blocks.append((first, max(last, end), before or given))
        else:
            blocks.append((begin, end, given))
    return blocks


def _block_median(compute: Callable[[], Any], block_ms: float) -> float:
    """Median milliseconds of a call; several short ones are timed together."""
    compute()  # caches hold the file that was timed before
    start = time.perf_counter()
    compute()
    once = time.perf_counter() - start
    count = max(1, round(_SHORTEST_MS / 1e3 / max(once, 1e-7)))
    times, end = [], time.perf_counter() + block_ms / 1e3
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(count):
            compute()
        times.append((time.perf_counter() - start) * 1e3 / count)
    return float(np.median(times))
