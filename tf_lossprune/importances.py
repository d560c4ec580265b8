"""Importances: the order in which the channels of a group go."""

from tf_lossprune.gates.importance import (
    L1,
    Automatic,
    BNScale,
    GroupL2,
    Importance,
    Taylor,
    register_importance,
)
from tf_lossprune.gates.saliency import (
    FirstOrder,
    FisherInformation,
    MeanGradient,
    SaliencyEstimator,
)
from tf_lossprune.gates.weight_slices import weight_slices
from tf_lossprune.training.prediction import Prediction

__all__ = [
    "L1",
    "Automatic",
    "BNScale",
    "FirstOrder",
    "FisherInformation",
    "GroupL2",
    "Importance",
    "MeanGradient",
    "Prediction",
    "SaliencyEstimator",
    "Taylor",
    "register_importance",
    "weight_slices",
]
