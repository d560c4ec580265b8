"""From ratios to masks: soft thresholds, samplers, importance, saliency, wrappers."""

from tf_lossprune.gates.calls import GatedCall, ungated
from tf_lossprune.gates.importance import IMPORTANCES, Importance
from tf_lossprune.gates.layers import GatedLayer
from tf_lossprune.gates.saliency import (
    FirstOrder,
    FisherInformation,
    SaliencyEstimator,
)
from tf_lossprune.gates.sampler import SAMPLERS, GateSampler
from tf_lossprune.gates.solve import (
    GroupLayout,
    ratio_derivative,
    solve_steepness,
    solve_threshold,
)
from tf_lossprune.gates.threshold import THRESHOLDS, SoftThreshold

__all__ = [
    "IMPORTANCES",
    "SAMPLERS",
    "THRESHOLDS",
    "FirstOrder",
    "FisherInformation",
    "GateSampler",
    "GatedCall",
    "GatedLayer",
    "GroupLayout",
    "Importance",
    "SaliencyEstimator",
    "SoftThreshold",
    "ratio_derivative",
    "solve_steepness",
    "solve_threshold",
    "ungated",
]
