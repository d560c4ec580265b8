"""The channel graph: which channels of a model can only be removed together."""

from tf_lossprune.graph.bottlenecks import bottlenecks
from tf_lossprune.graph.groups import ChannelGraph, Group, analyze
from tf_lossprune.graph.opening import open_model
from tf_lossprune.graph.removal import Blocks, find_blocks, removable_blocks
from tf_lossprune.graph.replaying import replay
from tf_lossprune.graph.rules import register_rule
from tf_lossprune.graph.tracing import Call, Graph, Tensor, trace

__all__ = [
    "Blocks",
    "Call",
    "ChannelGraph",
    "Graph",
    "Group",
    "Tensor",
    "analyze",
    "bottlenecks",
    "find_blocks",
    "open_model",
    "register_rule",
    "removable_blocks",
    "replay",
    "trace",
]
