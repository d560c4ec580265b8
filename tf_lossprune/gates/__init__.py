"""From ratios to masks: soft thresholds, draws, importance, wrappers."""

from tf_lossprune.gates.draw import ConcreteDraw, DeterministicDraw, Draw, HardDraw
from tf_lossprune.gates.family import (
    ClippedLinear,
    Family,
    GaussianLog,
    SigmoidLog,
)
from tf_lossprune.gates.importance import Importance
from tf_lossprune.gates.layers import GatedLayer
from tf_lossprune.gates.solve import GroupLayout, solve_steepness, solve_threshold

__all__ = [
    "ClippedLinear",
    "ConcreteDraw",
    "DeterministicDraw",
    "Draw",
    "Family",
    "GatedLayer",
    "GaussianLog",
    "GroupLayout",
    "HardDraw",
    "Importance",
    "SigmoidLog",
    "solve_steepness",
    "solve_threshold",
]
