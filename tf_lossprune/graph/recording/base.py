"""Recorded operations of any backend, and what they come to."""

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Recording:
    """What one call computes for one sample.

    Attributes:
        macs: float, multiply-accumulates of convolutions and matrix products.
        elements: float, elements of the tensors inside that are alive at the
            fullest moment, beyond the call's inputs and outputs.
        unknown: string or None, why these numbers are not the whole truth.
    """

    macs: float = 0.0
    elements: float = 0.0
    unknown: str | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """One recorded operation.

    Attributes:
        inputs: list of the keys of the tensors that it reads.
        outputs: dict, key of a tensor that it makes -> elements.
        work: `Recording`, what it computes.
        in_place: bool, whether it needs no tensor of its own where it alone reads
            what it changes: a runtime merges it into the operation before.
    """

    inputs: Sequence[Hashable]
    outputs: Mapping[Any, float]
    work: Recording = Recording()
    in_place: bool = False


def product(sizes: Iterable) -> float:
    """The product of sizes; NaN where one of them is unknown."""
    return math.prod(math.nan if size is None else float(size) for size in sizes)


def summarize(
    steps: Sequence[Step], given: Iterable, read: Iterable, weights: Iterable = ()
) -> Recording:
    """Adds up what runs: what depends on the inputs, and what somebody reads.

    The rest is computed when the model is converted, or never. Products of weights
    alone are counted, as not every converter computes them.

    Args:
        steps: list of `Step`s in the order in which they run.
        given: keys of the inputs.
        read: keys of the outputs that are read.
        weights: keys of the tensors that stand for weights.
    """
    given, read = set(given), set(read)
    running = _running(steps, given.union(weights), read)
    macs = sum(step.work.macs for step in running)
    unknown = next((s.work.unknown for s in running if s.work.unknown), None)
    if unknown is None and math.isnan(macs):
        unknown = "its sizes are not known"
    activations = _running(running, given, read)
    return Recording(macs, _fullest(activations, given, read), unknown)


def depending(steps, given):
    """Keys of the tensors that depend on some of the inputs."""
    found = set(given)
    for step in steps:
        if not found.isdisjoint(step.inputs):
            found.update(step.outputs)
    return found


def _running(steps, given, read):
    moving, wanted, found = depending(steps, given), set(read), []
    for step in reversed(steps):
        if not wanted.isdisjoint(step.outputs):
            wanted.update(step.inputs)
            if not moving.isdisjoint(step.inputs):
                found.append(step)
    return found[::-1]


def _fullest(running, given, read):
    """The most elements alive at once, beyond what is given and read."""
    readers: dict = {}
    for step in running:
        for key in set(step.inputs):
            readers[key] = readers.get(key, 0) + 1
    buffer = {key: key for key in given}
    size: dict = dict.fromkeys(given, 0.0)
    last: dict = {}
    for number, step in enumerate(running):
        changed = [key for key in step.inputs if key in buffer]
        shared = step.in_place and len(set(changed)) == 1 and readers[changed[0]] == 1
        for key in changed:
            last[buffer[key]] = max(last.get(buffer[key], 0), number)
        for key, elements in step.outputs.items():
            buffer[key] = buffer[changed[0]] if shared else key
            if not shared:
                size[key] = 0.0 if math.isnan(elements) else elements
                last[key] = number
            if key in read:
                last[buffer[key]] = len(running)
    alive = fullest = 0.0
    ends: dict = {}
    for key, number in last.items():
        ends.setdefault(number, []).append(key)
    for number, step in enumerate(running):
        alive += sum(size[key] for key in step.outputs if buffer[key] == key)
        fullest = max(fullest, alive + step.work.elements)
        alive -= sum(size[key] for key in ends.get(number, ()))
    results = {buffer[key] for key in read if key in buffer}
    return max(0.0, fullest - sum(size[key] for key in results))
