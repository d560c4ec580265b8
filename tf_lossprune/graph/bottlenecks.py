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
    passed = _always_passed(channels.graph)
    makers = [group.producers for group in channels.groups]
    return np.array([len(m) == 1 and m[0] in passed for m in makers], bool)


def _always_passed(graph):
    """Names of the layers and operations on every way from inputs to outputs."""
    passed = {id(tensor): set() for tensor in tree.flatten(graph.inputs)}

    def common(tensors):
        found = [passed[id(t)] for t in tensors if id(t) in passed]
        return set.intersection(*found) if found else None

    for call in graph.calls:
        before = common(call.inputs)
        if before is not None:
            names = before | {call.operation.name}
            passed.update((id(tensor), names) for tensor in call.outputs)
    return common(tree.flatten(graph.outputs)) or set()
