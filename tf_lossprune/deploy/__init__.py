"""From the compact Keras model to the device: conversion and measurement."""

from tf_lossprune.deploy.benchmark import (
    LitertBenchmark,
    arena_bytes,
    benchmark_litert,
    times_in_turns,
)
from tf_lossprune.deploy.calibrate import calibrate_latency, export_probes
from tf_lossprune.deploy.check import litert_error
from tf_lossprune.deploy.comparison import Comparison, compare
from tf_lossprune.deploy.crossing import from_tf_keras
from tf_lossprune.deploy.litert import convert_to_measure, to_litert
from tf_lossprune.deploy.measurer import LitertMeasurer
from tf_lossprune.deploy.quantize import quantize_aware, quantized_to_litert
from tf_lossprune.deploy.runtime import run_litert
from tf_lossprune.deploy.tfmot import cluster_weights, strip_clustering, to_tf_keras
from tf_lossprune.resources.device import this_device

__all__ = [
    "Comparison",
    "LitertBenchmark",
    "LitertMeasurer",
    "arena_bytes",
    "benchmark_litert",
    "calibrate_latency",
    "cluster_weights",
    "compare",
    "convert_to_measure",
    "export_probes",
    "from_tf_keras",
    "litert_error",
    "quantize_aware",
    "quantized_to_litert",
    "run_litert",
    "strip_clustering",
    "this_device",
    "times_in_turns",
    "to_litert",
    "to_tf_keras",
]
