"""Which groups may lose all their channels: those behind a skip path.

If a group has no channels, whatever reads it computes a constant; so does whatever
reads constants only. Where a constant is added to something else, the skip path goes
on without the branch, and the model still works.
"""

import numpy as np
from keras import tree

ALIVE, CONSTANT, EMPTY = "alive", "constant", "empty"


def is_addition(operation):
    """Whether a layer or operation adds its inputs up."""
    return type(operation).__name__ == "Add"


def removable_blocks(channels):
    """Finds the groups that may go entirely, and those that go with them.

    Args:
        channels: `ChannelGraph`.

    Returns:
        List of int arrays of group indices: the groups of one branch, in order.
    """
    followers = {}
    for index in range(len(channels.groups)):
        found = _without(channels, index)
        if found is not None:
            followers[index] = found
    block_of = {index: index for index in followers}
    for index, others in followers.items():
        for other in others & followers.keys():
            old, new = block_of[other], block_of[index]
            block_of = {k: new if b == old else b for k, b in block_of.items()}
    blocks = {}
    for index, block in block_of.items():
        blocks.setdefault(block, []).append(index)
    return [np.array(sorted(block)) for block in blocks.values()]


def _without(channels, index):
    """The groups that only live inside constants without one group.

    Returns None if the model does not work without it.
    """
    alive = np.ones(channels.num_units + 1, bool)
    alive[channels.groups[index].units] = False
    states = state_of_tensors(channels, alive)
    if states is None or CONSTANT not in states.values():
        return None
    living, constant = set(), set()
    for tensor, state in states.items():
        groups = set(np.unique(channels.group_of[channels.labels[tensor]]))
        (living if state == ALIVE else constant).update(groups)
    return constant - living - {-1, index}


def state_of_tensors(channels, keep):
    """What is left of each tensor when only some units are kept.

    Args:
        channels: `ChannelGraph`.
        keep: bool `[num_units + 1]`.

    Returns:
        Dict, `id(tensor)` -> `ALIVE`, `CONSTANT` (the same for every input) or
        `EMPTY` (no channels); None if the model does not work like this.
    """
    states = {}
    for call in channels.graph.calls:
        given = {states.get(id(t), ALIVE) for t in call.inputs}
        state = _state(channels, call, given, keep)
        if state is None:
            return None
        for tensor in call.outputs:
            states[id(tensor)] = state
    outputs = tree.flatten(channels.graph.outputs)
    if any(states.get(id(t), ALIVE) != ALIVE for t in outputs):
        return None
    return states


def _state(channels, call, given, keep):
    gone = [not keep[channels.labels[id(t)]].any() for t in call.outputs]
    if all(gone):
        return EMPTY
    if any(gone):
        return None
    if given <= {ALIVE}:
        return ALIVE
    if EMPTY in given:
        # Something else than a kernel would have to make sense of no channels.
        reads = call.is_layer and channels.gated(call.operation)
        return CONSTANT if reads and ALIVE not in given else None
    if ALIVE not in given:
        return CONSTANT
    return ALIVE if is_addition(call.operation) else None
