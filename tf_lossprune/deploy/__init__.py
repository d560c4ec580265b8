"""From the compact Keras model to the device: conversion and measurement."""

from tf_lossprune.deploy.benchmark import (
    LitertBenchmark,
    benchmark_litert,
    run_litert,
)
from tf_lossprune.deploy.litert import to_litert

__all__ = ["LitertBenchmark", "benchmark_litert", "run_litert", "to_litert"]
