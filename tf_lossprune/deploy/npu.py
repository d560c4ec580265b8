"""What a file costs on an Arm Ethos-U, as its compiler Vela estimates it."""

import contextlib
import csv
import dataclasses
import glob
import io
import os
import re
import sys
import tempfile
from typing import Any

from tf_lossprune.deploy.runtime import verified_file
from tf_lossprune.deploy.streams import captured_stderr
from tf_lossprune.resources.npu import check_accelerator
from tf_lossprune.types import Path


@dataclasses.dataclass(frozen=True)
class NpuEstimate:
    """What Vela says of one file on one accelerator.

    Attributes:
        cycles: int, clock cycles of one inference, memory accesses included.
        milliseconds: float, the same at the accelerator's clock.
        sram_bytes: int, the most SRAM that is taken.
        flash_bytes: int, what is kept outside of it: weights, compressed, and commands.
        cpu_operations: tuple of strings, operations that the accelerator lacks: the
            processor runs them, and `cycles` does not include them.
    """

    cycles: int
    milliseconds: float
    sram_bytes: int
    flash_bytes: int
    cpu_operations: tuple[str, ...] = ()


def npu_estimate(
    path: Path,
    accelerator: str = "ethos-u55-128",
    *,
    system_config: str | None = None,
    memory_mode: str | None = None,
    config: Path | None = None,
) -> NpuEstimate:
    """Compiles a file with Vela, and reads its estimate.

    The estimate is that of a compiler, not of a device: it is deterministic, and is
    meant for comparing networks.

    Args:
        path: Path of an int8 `.tflite` file.
        accelerator: string, such as `"ethos-u55-128"` or `"ethos-u65-512"`.
        system_config: string or None, a section of the configuration file that says
            how fast clocks and memories are; None: Vela's default.
        memory_mode: string or None, a section that says what lies where; likewise.
        config: path of a configuration file, or None: Vela's own.

    Returns:
        An `NpuEstimate`.

    Raises:
        ImportError: If ethos-u-vela is missing.
        TypeError: If `path` is not a path.
        ValueError: If there is no such file, for an unknown accelerator or section, or
            if Vela cannot compile the file.

    Example:
        >>> npu_estimate("compact_int8.tflite", "ethos-u55-128").cycles < 500_000
        True
    """
    estimate = compiled(
        verified_file(path), accelerator, system_config, memory_mode, config
    )
    if not estimate.cycles:
        raise ValueError(
            "Expected an int8 file of which the accelerator runs at least one "
            f"operation. Received: {os.fspath(path)!r}, of which the processor runs "
            f"all ({', '.join(estimate.cpu_operations[:3])} ...)"
        )
    return estimate


def compiled(
    path: str,
    accelerator: str,
    system_config: str | None = None,
    memory_mode: str | None = None,
    config: Path | None = None,
) -> NpuEstimate:
    """As `npu_estimate`, of a whole file, of which nothing need run there."""
    options = ["--accelerator-config", check_accelerator(accelerator)]
    options.append("--show-cpu-operations")
    for name, value in (
        ("--config", config),
        ("--system-config", system_config),
        ("--memory-mode", memory_mode),
    ):
        options += [name, os.fspath(value)] if value else []
    with tempfile.TemporaryDirectory() as folder:
        log = _compile([path, *options, "--output-dir", folder])
        found = glob.glob(os.path.join(folder, "*_summary_*.csv"))
        if not found:
            raise ValueError(
                f"Expected a file that Vela can compile ({_last_lines(log)}). "
                f"Received: {path!r}"
            )
        with open(found[0], encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file)
    cpu_operations = tuple(re.findall(r"^\s+CPU: (.*?)\s*$", log, re.MULTILINE))
    return NpuEstimate(
        cycles=int(float(row["cycles_total"])),
        milliseconds=float(row["inference_time"]) * 1e3,
        sram_bytes=_kibibytes(row, "sram"),
        flash_bytes=sum(
            _kibibytes(row, memory)
            for memory in ("off_chip_flash", "on_chip_flash", "dram")
        ),
        cpu_operations=cpu_operations,
    )


def _kibibytes(row: dict[str, Any], memory: str) -> int:
    return round(1024 * float(row.get(f"{memory}_memory_used") or 0))


def _compile(arguments: list[str]) -> str:
    """Runs Vela's command line in this process; returns what it prints."""
    try:
        from ethosu.vela import vela
    except ImportError as error:
        raise ImportError(
            "Cycles on an Ethos-U are estimated by Vela: "
            "pip install 'tf_lossprune[micro]'"
        ) from error
    printed, depth = io.StringIO(), sys.getrecursionlimit()
    with captured_stderr(True) as read_log, contextlib.redirect_stdout(printed):
        with contextlib.redirect_stderr(printed):
            try:
                vela.main(arguments)
            # It ends the process for wrong options, and has exceptions of its own.
            except (Exception, SystemExit) as error:
                printed.write(f"\n{error}")
            finally:
                sys.setrecursionlimit(depth)  # it sets one
        return f"{printed.getvalue()}\n{read_log()}"


def _last_lines(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return "; ".join(lines[-3:])
