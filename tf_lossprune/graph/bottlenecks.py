"""Groups that everything passes through."""

import numpy as np
from keras import tree


def bottlenecks(channels):
    """Finds the groups whose one layer lies on every way from inputs to outputs.

    Where several layers add up to the same channels, or a skip path or another branch
    goes around the layer, what it drops may get through elsewhere.

    Args:
        channels: `ChannelGraph`.

    Returns:
        Bool `[groups]`.
    """
    return np.array(
        [
            len(group.producers) == 1 and _blocks(channels.graph, group.producers[0])
            for group in channels.groups
        ],
        bool,
    )


def _blocks(graph, name):
    """Whether no output can be reached without the layer of that name."""
    reached = {id(tensor) for tensor in tree.flatten(graph.inputs)}
    for call in graph.calls:
        if call.operation.name != name and any(id(t) in reached for t in call.inputs):
            reached.update(id(tensor) for tensor in call.outputs)
    return not any(id(t) in reached for t in tree.flatten(graph.outputs))
