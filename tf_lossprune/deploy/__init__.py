"""From the compact Keras model to the device: conversion and measurement."""

from tf_lossprune.deploy.benchmark import (
    LitertBenchmark,
    arena_bytes,
    benchmark_litert,
    times_in_turns,
)
from tf_lossprune.deploy.calibrate import calibrate_latency, export_probes, this_device
from tf_lossprune.deploy.compare import Comparison, compare
from tf_lossprune.deploy.litert import convert_to_measure, to_litert
from tf_lossprune.deploy.runtime import run_litert

__all__ = [
    "Comparison",
    "LitertBenchmark",
    "arena_bytes",
    "benchmark_litert",
    "calibrate_latency",
    "compare",
    "convert_to_measure",
    "export_probes",
    "run_litert",
    "this_device",
    "times_in_turns",
    "to_litert",
]
