"""Which groups may lose all their channels: those behind a skip path."""

import dataclasses

import numpy as np
from keras import tree

from tf_lossprune.graph.blocks import (
    CONSTANT,
    NotWithout,
    is_addition,
    is_dead,
    is_own,
    state_of_tensors,
)
from tf_lossprune.graph.constants import evaluate

#: So many reasons are told of one branch.
MOST_REASONS = 3


@dataclasses.dataclass
class Block:
    """A branch beside a skip path that may go.

    Attributes:
        groups: int array, the groups that go, in order.
        layers: list of names of the layers that go with them.
    """

    groups: np.ndarray
    layers: list


@dataclasses.dataclass
class Blocks:
    """The blocks of a model.

    Attributes:
        removable: list of `Block`s.
        kept: list of `(name, reason)`: the last layer of each branch beside a skip
            path that has to stay, and why.
        goes_with: dict, name of a layer -> list of int arrays of groups. It goes
            if each of these blocks does.
    """

    removable: list
    kept: list
    goes_with: dict


def removable_blocks(channels):
    """Finds the groups that may go entirely, and those that go with them.

    Args:
        channels: `ChannelGraph`.

    Returns:
        List of int arrays of group indices: the groups of one branch, in order.
    """
    return _blocks_of(_followers(channels)[0])


def find_blocks(channels):
    """Finds what may go entirely of a model, and what goes with it.

    Args:
        channels: `ChannelGraph`.

    Returns:
        `Blocks`.
    """
    followers, reasons, constant = _followers(channels)
    arrays = _blocks_of(followers)
    gone = [_layers_gone(channels, [block]) for block in arrays]
    return Blocks(
        [Block(*found) for found in zip(arrays, gone)],
        _kept(channels, reasons, constant),
        _goes_with(channels, arrays, gone),
    )


def _followers(channels):
    """The groups without which a model works, and those that go with each.

    Returns:
        Dict, group -> set of groups; dict, group -> why not without it; and the ids of
        the tensors that are constant without one of them.
    """
    followers, reasons, constant = {}, {}, set()
    for index in range(len(channels.groups)):
        try:
            states = _states_without(channels, [index], evaluated=True)
        except NotWithout as error:
            reasons[index] = str(error)
            continue
        if CONSTANT not in states.values():
            reasons[index] = "nothing reads its channels"
            continue
        followers[index] = _only_in_constants(channels, states) - {index}
        constant |= {key for key, state in states.items() if state == CONSTANT}
    return followers, reasons, constant


def _blocks_of(followers):
    """The groups that go with one another, as arrays."""
    blocks = []
    for index, others in followers.items():
        block = {index} | others
        for other in [found for found in blocks if found & block]:
            blocks.remove(other)
            block |= other
        blocks.append(block)
    return [np.array(sorted(block)) for block in sorted(blocks, key=min)]


def _states_without(channels, groups, evaluated=False):
    """The states of all tensors without some groups.

    Args:
        channels: `ChannelGraph`.
        groups: indices.
        evaluated: bool, whether to see that the constants can be computed.

    Raises:
        NotWithout: if the model does not work without them.
    """
    keep = np.ones(channels.num_units + 1, bool)
    for index in groups:
        keep[channels.groups[index].units] = False
    states = state_of_tensors(channels, keep)
    if evaluated:
        try:
            evaluate(channels, keep, states, np.random.default_rng(0))
        except NotWithout:
            raise
        except Exception as error:  # whatever layers say to a sample of zeros
            raise NotWithout(
                f"what it would add cannot be computed: {error}"
            ) from error
    return states


def _only_in_constants(channels, states):
    """The groups that only live in what is not computed any more."""
    living, dead = set(), set()
    for call in channels.graph.calls:
        weights = channels.record(call.operation).weights.values()
        units = [channels.labels[id(t)] for t in call.outputs]
        units += [found for axes in weights for found in axes.values()]
        gone = call.outputs and is_dead(states[id(call.outputs[0])])
        for found in units:
            groups = np.unique(channels.group_of[found])
            (dead if gone else living).update(groups.tolist())
    return dead - living - {-1}


def _layers_gone(channels, blocks):
    """Names of the layers and operations that are not called without some blocks."""
    groups = np.concatenate(blocks) if blocks else []
    states = _states_without(channels, groups)
    graph = channels.graph
    read = {id(t) for t in tree.flatten(graph.outputs)}
    left = set()
    for call in reversed(graph.calls):
        if any(id(t) in read for t in call.outputs):
            left.add(call.operation.name)
            read |= {id(t) for t in call.inputs if not is_dead(states.get(id(t)))}
    names = dict.fromkeys(call.operation.name for call in graph.calls)
    return [name for name in names if name not in left]


def _goes_with(channels, blocks, gone):
    """Dict, name of a layer -> the blocks that it goes with; see `Blocks`."""
    alone = {name: [block] for block, names in zip(blocks, gone) for name in names}
    try:
        every = {*_layers_gone(channels, blocks)} - {*alone}
    except NotWithout:  # some block has to stay
        return alone
    found = {name: [] for name in every}
    for index, block in enumerate(blocks) if every else ():
        others = blocks[:index] + blocks[index + 1 :]
        for name in every - {*_layers_gone(channels, others)}:
            found[name].append(block)
    return {**alone, **{name: needed for name, needed in found.items() if needed}}


def _kept(channels, reasons, constant):
    """The branches beside a skip path that have to stay; see `Blocks`."""
    before = _ancestors(channels.graph)
    calls, found = channels.graph.calls, []
    for call in calls:
        summands = list({id(t): t for t in call.inputs}.values())
        if not is_addition(call.operation) or len(summands) != 2:
            continue
        one, other = (before[id(t)] for t in summands)
        if not one & other or any(id(t) in constant for t in summands):
            continue
        own = _calls(calls, one & ~other), _calls(calls, other & ~one)
        branches = [part for part in own if any(map(_has_weights, part))]
        if len(branches) != 1:  # no skip path, or nothing beside it
            continue
        layers = [c.operation for c in branches[0] if _has_weights(c)]
        names = [layer.name for layer in layers if not is_own(layer)]
        if names:
            found.append((names[-1], _why(channels, branches[0], reasons)))
    return found


def _ancestors(graph):
    """Dict, id of a tensor -> the inputs and calls that made it, bits of a number."""
    found = {}
    for number, tensor in enumerate(tree.flatten(graph.inputs)):
        found[id(tensor)] = 1 << (len(graph.calls) + number)
    for number, call in enumerate(graph.calls):
        bits = 1 << number
        for tensor in () if is_own(call.operation) else call.inputs:
            bits |= found.get(id(tensor), 0)
        found.update((id(tensor), bits) for tensor in call.outputs)
    return found


def _calls(calls, bits):
    return [call for number, call in enumerate(calls) if bits >> number & 1]


def _has_weights(call):
    return call.is_layer and bool(call.operation.weights)


def _why(channels, branch, reasons):
    """Why a branch has to stay."""
    names = {call.operation.name for call in branch}
    said = [
        f"without {group.name!r}: {reasons[index]}"
        for index, group in enumerate(channels.groups)
        if index in reasons and names & {*group.producers}
    ]
    said += [f"{name!r}: {why}" for name, why in channels.frozen if name in names]
    return (
        "; ".join(said[:MOST_REASONS]) or "none of its layers reads prunable channels"
    )
