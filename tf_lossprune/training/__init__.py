"""The gated model, its phases and its training step."""

from tf_lossprune.training.model import PrunedModel
from tf_lossprune.training.repair import Repair, repair
from tf_lossprune.training.statistics import reestimate_statistics

__all__ = ["PrunedModel", "Repair", "reestimate_statistics", "repair"]
