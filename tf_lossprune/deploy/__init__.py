"""From the compact Keras model to the device: conversion and measurement."""

from tf_lossprune.deploy.benchmark import (
    FileBenchmark,
    arena_bytes,
    benchmark_file,
    benchmark_litert,
    times_in_turns,
)
from tf_lossprune.deploy.calibrate import calibrate_latency, export_probes
from tf_lossprune.deploy.check import litert_error
from tf_lossprune.deploy.comparison import Comparison, compare
from tf_lossprune.deploy.crossing import from_tf_keras
from tf_lossprune.deploy.edge_quantizer import quantize_litert
from tf_lossprune.deploy.exchange import to_onnx, to_openvino
from tf_lossprune.deploy.litert import convert_to_measure, to_litert
from tf_lossprune.deploy.measurer import LitertMeasurer
from tf_lossprune.deploy.micro import MicroArena, micro_arena
from tf_lossprune.deploy.npu import NpuEstimate, npu_estimate
from tf_lossprune.deploy.quantize import quantize_aware, quantized_to_litert
from tf_lossprune.deploy.runtime import run_litert
from tf_lossprune.deploy.sessions import run_file
from tf_lossprune.deploy.tfmot import cluster_weights, strip_clustering, to_tf_keras
from tf_lossprune.resources.device import this_device

__all__ = [
    "Comparison",
    "FileBenchmark",
    "LitertMeasurer",
    "MicroArena",
    "NpuEstimate",
    "arena_bytes",
    "benchmark_file",
    "benchmark_litert",
    "calibrate_latency",
    "cluster_weights",
    "compare",
    "convert_to_measure",
    "export_probes",
    "from_tf_keras",
    "litert_error",
    "micro_arena",
    "npu_estimate",
    "quantize_aware",
    "quantize_litert",
    "quantized_to_litert",
    "run_file",
    "run_litert",
    "strip_clustering",
    "this_device",
    "times_in_turns",
    "to_litert",
    "to_onnx",
    "to_openvino",
    "to_tf_keras",
]
