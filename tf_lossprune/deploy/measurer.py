"""Measures what resources ask for on LiteRT files."""

import importlib.util

import keras

from tf_lossprune.deploy.benchmark import arena_bytes, times_of_turns
from tf_lossprune.deploy.litert import convert_to_measure
from tf_lossprune.resources.measurer import Measurer


@keras.saving.register_keras_serializable(package="tf_lossprune")
class LitertMeasurer(Measurer):
    """Converts with TensorFlow, and times with ai-edge-litert on this machine."""

    def convert(self, model, path, precision):
        convert_to_measure(model, path, precision)

    def times(self, paths, threads, turns):
        return times_of_turns(paths, threads, turns)

    def arena(self, path):
        return arena_bytes(path)

    def works_here(self):
        installed = importlib.util.find_spec("ai_edge_litert") is not None
        return installed and keras.backend.backend() == "tensorflow"
