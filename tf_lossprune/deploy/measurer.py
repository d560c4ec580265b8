"""Measures what resources ask for on LiteRT files."""

import importlib.util
from collections.abc import Sequence

import keras
import numpy as np

from tf_lossprune.deploy.benchmark import arena_bytes, times_of_turns
from tf_lossprune.deploy.litert import convert_to_measure
from tf_lossprune.resources.measurer import Measurer
from tf_lossprune.types import Path


@keras.saving.register_keras_serializable(package="tf_lossprune")
class LitertMeasurer(Measurer):
    """Converts with TensorFlow, and times with ai-edge-litert on this machine."""

    def convert(self, model: keras.Model, path: Path, precision: str) -> None:
        convert_to_measure(model, path, precision)

    def times(self, paths: Sequence[Path], threads: int, turns: int) -> np.ndarray:
        return times_of_turns(paths, threads, turns)

    def arena(self, path: Path) -> int:
        return arena_bytes(path)

    def works_here(self) -> bool:
        installed = importlib.util.find_spec("ai_edge_litert") is not None
        return installed and keras.backend.backend() == "tensorflow"
