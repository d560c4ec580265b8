"""Soft thresholds: how keep probabilities follow from importances."""

from tf_lossprune.gates.threshold import (
    ClippedLinear,
    GaussianLog,
    SigmoidLog,
    SoftThreshold,
    register_threshold,
)

__all__ = [
    "ClippedLinear",
    "GaussianLog",
    "SigmoidLog",
    "SoftThreshold",
    "register_threshold",
]
