"""The memory that LiteRT for Microcontrollers takes for a file."""

import dataclasses
import os
import re
from typing import Any

from tf_lossprune.deploy.runtime import verified_file
from tf_lossprune.deploy.streams import captured_stderr
from tf_lossprune.types import Path

#: Bytes offered at first, and at most: the interpreter takes what it needs of them.
_FIRST_ARENA, _LARGEST_ARENA = 1 << 22, 1 << 30
_ALLOCATIONS = {
    "activations": r"Arena allocation head (\d+) bytes",
    "persistent": r"Arena allocation tail (\d+) bytes",
    "total": r"Arena allocation total (\d+) bytes",
}


@dataclasses.dataclass(frozen=True)
class MicroArena:
    """The tensor arena of one file, as the interpreter allocates it.

    Attributes:
        total: int, bytes that the arena has to have.
        activations: int, the part in which activations share memory.
        persistent: int, the part that lasts: structures of tensors and operations,
            and the factors of quantised channels. Pointers count as this machine has
            them; with 32 bits this part is smaller.
    """

    total: int
    activations: int
    persistent: int


def micro_arena(path: Path) -> MicroArena:
    """Asks LiteRT for Microcontrollers (TFLM) for the arena that a file needs.

    The interpreter of the package `tflite-micro` plans the memory, runs the file once
    and says what it has allocated. The kernels are the reference ones; optimised ones
    (CMSIS-NN) may ask for scratch memory besides.

    Args:
        path: Path of a `.tflite` file in fp32 or int8.

    Returns:
        A `MicroArena`.

    Raises:
        ImportError: If tflite-micro is missing.
        TypeError: If `path` is not a path.
        ValueError: If there is no such file, or TFLM cannot run it; the message has
            its reason, such as an operation that it lacks.

    Example:
        >>> micro_arena("compact_int8.tflite").total <= 64 * 1024
        True
    """
    path = verified_file(path)
    runtime = _runtime()
    size = max(_FIRST_ARENA, 4 * os.path.getsize(path))
    while True:
        with captured_stderr() as read_log:
            try:
                interpreter = runtime.Interpreter.from_file(path, arena_size=size)
                interpreter.invoke()
                interpreter.print_allocations()
                failure = None
            except (RuntimeError, ValueError, AttributeError) as error:
                failure = error
            log = read_log()
        if failure is None:
            return _read(log)
        if "missing" not in log or size >= _LARGEST_ARENA:
            lines = [line for line in log.strip().splitlines()[-3:] if line]
            reason = "; ".join(lines) or str(failure)
            raise ValueError(
                "Expected a file that LiteRT for Microcontrollers runs: fp32 or int8, "
                f"and operations that it has ({reason}). Received: {path!r}"
            ) from failure
        size *= 4


def micro_arena_bytes(path: Path) -> int:
    """`micro_arena(path).total`: bytes that the tensor arena has to have."""
    return micro_arena(path).total


def _runtime() -> Any:
    try:
        from tflite_micro import runtime
    except ImportError:
        try:
            from tflite_micro.python.tflite_micro import runtime
        except ImportError as error:
            raise ImportError(
                "The arena on a microcontroller is measured with tflite-micro: "
                "pip install 'tf_lossprune[micro]'"
            ) from error
    return runtime


def _read(log: str) -> MicroArena:
    found = {}
    for name, pattern in _ALLOCATIONS.items():
        match = re.search(pattern, log)
        if match is None:
            raise RuntimeError(
                "Expected tflite-micro to print its allocations. "
                f"Received: {log[-300:]!r}"
            )
        found[name] = int(match.group(1))
    return MicroArena(**found)
