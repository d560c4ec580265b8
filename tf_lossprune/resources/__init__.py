"""What a network costs at given widths; one resource per file."""

from tf_lossprune.resources.base import (
    RESOURCES,
    CostFunction,
    Resource,
    Term,
    register_resource,
)
from tf_lossprune.resources.counting import cost, known_costs
from tf_lossprune.resources.latency import Latency
from tf_lossprune.resources.latency_cache import cache_folder
from tf_lossprune.resources.latency_table import LatencyTable
from tf_lossprune.resources.macs import Macs
from tf_lossprune.resources.measurer import Measurer
from tf_lossprune.resources.memory import PeakMemory
from tf_lossprune.resources.micro import TflmArena
from tf_lossprune.resources.model import BilinearResource, CostModel, cost_models, plain
from tf_lossprune.resources.npu import NpuCycles
from tf_lossprune.resources.opaque import OpaqueLayer, opaque_layers
from tf_lossprune.resources.params import Params
from tf_lossprune.resources.size import SizeBytes
from tf_lossprune.resources.table import LayerTable

__all__ = [
    "RESOURCES",
    "BilinearResource",
    "CostFunction",
    "CostModel",
    "Latency",
    "LatencyTable",
    "LayerTable",
    "Macs",
    "Measurer",
    "NpuCycles",
    "OpaqueLayer",
    "Params",
    "PeakMemory",
    "Resource",
    "SizeBytes",
    "Term",
    "TflmArena",
    "cache_folder",
    "cost",
    "cost_models",
    "known_costs",
    "opaque_layers",
    "plain",
    "register_resource",
]
