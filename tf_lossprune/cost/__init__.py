"""What a network costs at given widths; one resource per file."""

from tf_lossprune.cost.base import RESOURCES, Resource, register_resource
from tf_lossprune.cost.macs import Macs
from tf_lossprune.cost.model import CostModel, cost_models
from tf_lossprune.cost.params import Params

__all__ = [
    "RESOURCES",
    "CostModel",
    "Macs",
    "Params",
    "Resource",
    "cost_models",
    "register_resource",
]
