"""Measures what resources ask for on LiteRT files."""

import importlib.metadata
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.deploy.benchmark import arena_bytes, times_of_turns
from tf_lossprune.deploy.litert import convert_operation, convert_to_measure
from tf_lossprune.deploy.micro import micro_arena
from tf_lossprune.deploy.npu import NpuEstimate, compiled, npu_estimate
from tf_lossprune.deploy.npu_files import incompressible, operation_file
from tf_lossprune.resources.device import this_device
from tf_lossprune.resources.measurer import Measurer
from tf_lossprune.resources.npu_operation import NpuOperation
from tf_lossprune.types import Path


@keras.saving.register_keras_serializable(package="tf_lossprune")
class LitertMeasurer(Measurer):
    """Converts with TensorFlow, and times with ai-edge-litert on this machine.

    Args:
        verbose: bool, whether to print what takes a while.
    """

    def __init__(self, verbose: bool = True) -> None:
        self.verbose = verbose

    def get_config(self) -> dict[str, Any]:
        return {"verbose": self.verbose}

    def convert(self, model: keras.Model, path: Path, precision: str) -> None:
        convert_to_measure(model, path, precision)

    def convert_operation(self, model: keras.Model, path: Path, precision: str) -> None:
        convert_operation(model, path, precision)

    def times(self, paths: Sequence[Path], threads: int, turns: int) -> np.ndarray:
        return times_of_turns(paths, threads, turns)

    def arena(self, path: Path) -> int:
        return arena_bytes(path)

    def missing(self) -> str:
        if importlib.util.find_spec("ai_edge_litert") is None:
            return "ai-edge-litert is not installed: pip install ai-edge-litert"
        backend = keras.backend.backend()
        if backend != "tensorflow":
            return f"KERAS_BACKEND=tensorflow is needed, here it is {backend}"
        return ""

    def device(self) -> dict[str, str]:
        software = ("ai-edge-litert", "tensorflow")
        return {**this_device(), **{name: _version(name) for name in software}}

    def micro_arena(self, path: Path) -> tuple[int, int]:
        found = micro_arena(path)
        return found.total - found.persistent, found.persistent

    def npu_cycles(self, path: Path, any_weights: bool = False, **options: Any) -> int:
        if not any_weights:
            found = npu_estimate(path, **options)
            if found.cpu_operations:
                warnings.warn(
                    f"{options['accelerator']} does not support some operations of "
                    "this network, which the CPU runs: cycles do not include them. "
                    f"Received: {', '.join(sorted(set(found.cpu_operations)))}",
                    stacklevel=2,
                )
            return found.cycles
        with open(path, "rb") as file:
            content = incompressible(file.read())
        return _estimate(content, options).cycles

    def npu_operation(
        self, operation: NpuOperation, given: int, made: int, **options: Any
    ) -> int:
        # None if the processor runs it.
        return _estimate(operation_file(operation, given, made), options).cycles


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:  # by another name, as nightlies
        return ""


def _estimate(content: bytes, options: dict[str, Any]) -> NpuEstimate:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "probe.tflite")
        with open(path, "wb") as file:
            file.write(content)
        return compiled(path, **options)
