"""What is left of each tensor where groups lose all their channels.

If a group has no channels, whatever reads it computes a constant; so does whatever
reads constants only. Where a constant is added to something else, the skip path goes
on without the branch, and the model still works.
"""

from keras import tree

from tf_lossprune.graph.gated_calls import gated_operand
from tf_lossprune.graph.own_weight import OwnConstant, OwnWeight
from tf_lossprune.graph.randomness import RandomDraw
from tf_lossprune.graph.sample_count import ForEachSample

#: `OWN`: made of weights alone, whatever the model is called with.
ALIVE, OWN, CONSTANT, EMPTY = "alive", "own", "constant", "empty"


class NotWithout(Exception):
    """The model does not work without these channels; the message says why."""


def is_addition(operation):
    """Whether a layer or operation adds its inputs up."""
    return type(operation).__name__ == "Add"


def state_of_tensors(channels, keep):
    """What is left of each tensor when only some units are kept.

    Args:
        channels: `ChannelGraph`.
        keep: bool `[num_units + 1]`.

    Returns:
        Dict, `id(tensor)` -> `ALIVE`, `OWN`, `CONSTANT` (the same for every input) or
        `EMPTY` (no channels).

    Raises:
        NotWithout: if the model does not work like this.
    """
    states = {}
    for call in channels.graph.calls:
        state = _state(channels, call, states, keep)
        for tensor in call.outputs:
            states[id(tensor)] = state
    for tensor in tree.flatten(channels.graph.outputs):
        if states.get(id(tensor), ALIVE) in (CONSTANT, EMPTY):
            raise NotWithout("the outputs of the model would be constant")
    return states


def is_dead(state):
    """Whether nothing of such a tensor is computed any more."""
    return state in (CONSTANT, EMPTY)


def _state(channels, call, states, keep):
    name = call.operation.name
    gone = [_without_channels(channels, tensor, keep) for tensor in call.outputs]
    if gone and all(gone):
        return EMPTY
    if any(gone):
        raise NotWithout(f"other outputs of {name!r} would be left")
    given = [states.get(id(t), ALIVE) for t in call.inputs]
    if is_own(call.operation):
        # Its last input only says how many samples there are.
        state = given[0] if len(given) > 1 else OWN
        return CONSTANT if is_dead(given[-1]) else state
    rest = {*given} - {OWN}
    if not rest:
        return OWN if given else ALIVE
    if rest == {ALIVE}:
        closing = channels.record(call.operation).constant_without.get(id(call), ())
        return ALIVE if all(keep[units].any() for units in closing) else CONSTANT
    if EMPTY in rest:
        if not _adds_up(channels, call, ALIVE in rest):
            raise NotWithout(f"{name!r} reads these channels without a kernel")
        return CONSTANT
    if ALIVE not in rest:
        return CONSTANT
    if not is_addition(call.operation):
        raise NotWithout(f"{name!r} does not add up what it would get of constants")
    rank = len(call.outputs[0].shape)
    for tensor, state in zip(call.inputs, given, strict=True):
        folded = tensor.batch_axis != 0 or tensor.sizes[0] not in (1, None)
        if is_dead(state) and (folded or len(tensor.shape) != rank):
            raise NotWithout(
                f"{name!r} adds where the batch has windows or heads in it"
            )
    return ALIVE


def _without_channels(channels, tensor, keep):
    units = channels.labels[id(tensor)], channels.hidden.get(id(tensor), [0])
    return not all(keep[found].any() for found in units)


def is_own(operation):
    """Whether what comes out depends on weights alone."""
    if isinstance(operation, RandomDraw):
        return operation.shape is not None
    return isinstance(operation, (OwnWeight, OwnConstant, ForEachSample))


def _adds_up(channels, call, others_live):
    """Whether a call without some channels is what it is with zeros in their place."""
    found = channels.gated_call(call)
    if found is not None and found[1] is gated_operand:
        return True
    # Something else than a kernel would have to make sense of no channels.
    return call.is_layer and bool(channels.gated(call.operation)) and not others_live
