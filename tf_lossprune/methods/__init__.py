"""How the keep ratios are found; one method per file, one interface."""

from tf_lossprune.methods.base import METHODS, Method, find_method
from tf_lossprune.methods.loss import Loss
from tf_lossprune.methods.magnitude import Magnitude
from tf_lossprune.methods.uniform import Uniform

__all__ = ["METHODS", "Loss", "Magnitude", "Method", "Uniform", "find_method"]
