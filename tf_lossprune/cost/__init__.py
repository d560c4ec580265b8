"""What a network costs at given widths; one resource per file."""

from tf_lossprune.cost.base import (
    RESOURCES,
    CostFunction,
    Resource,
    Term,
    register_resource,
)
from tf_lossprune.cost.latency import Latency, LatencyTable
from tf_lossprune.cost.macs import Macs
from tf_lossprune.cost.memory import PeakMemory
from tf_lossprune.cost.model import BilinearResource, CostModel, cost_models, plain
from tf_lossprune.cost.opaque import OpaqueLayer, opaque_layers
from tf_lossprune.cost.params import Params
from tf_lossprune.cost.size import SizeBytes
from tf_lossprune.cost.table import LayerTable

__all__ = [
    "RESOURCES",
    "BilinearResource",
    "CostFunction",
    "CostModel",
    "Latency",
    "LatencyTable",
    "LayerTable",
    "Macs",
    "OpaqueLayer",
    "Params",
    "PeakMemory",
    "Resource",
    "SizeBytes",
    "Term",
    "cost_models",
    "opaque_layers",
    "plain",
    "register_resource",
]
