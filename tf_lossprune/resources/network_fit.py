"""What whole networks take, over what their operations take one by one."""

import dataclasses
import json

import numpy as np

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.resources.operation import OperationTime, nonnegative
from tf_lossprune.resources.probes import (
    channel_entries,
    executed_calls,
    has_kernel,
    signature,
    signature_class,
    signature_digest,
)

#: Networks that are timed beside the dense one: the share of its channels that a group
#: keeps on average, and of what the widths are multiples.
NETWORKS = ((0.85, 1), (0.7, 8), (0.55, 1), (0.4, 8), (0.25, 1))
#: By how much the shares of groups differ, as a standard deviation of logarithms.
JITTER = 0.2
#: Relative standard deviations: of a network's time; of the factors of the kinds of
#: operations; and of the part of the time in which weights are fetched.
NOISE, SPREAD, FETCHING = 0.04, 0.4, 0.4
KINDS = ("bytes", "depthwise", "pointwise", "spatial")


@dataclasses.dataclass(frozen=True)
class TimeInNetwork:
    """Milliseconds of an operation in a network, from those it takes alone.

    Args:
        alone: `OperationTime`.
        factor: float, how much longer it takes in a network.
        weights: float `[2]`, as `kernel_entries` says.
        fetching: float, milliseconds to fetch an entry of its kernel, which is not in
            the cache when its turn comes.
    """

    alone: OperationTime
    factor: float
    weights: np.ndarray
    fetching: float

    @property
    def coefficients(self) -> np.ndarray:
        """As those of `OperationTime`."""
        fetched = self.fetching * self.weights
        return self.factor * self.alone.coefficients + [0.0, 0.0, *fetched]

    def __call__(self, given: float, made: float) -> float:
        """Milliseconds at whole numbers of input and output channels."""
        entries = made * (self.weights[0] + self.weights[1] * given)
        return self.factor * self.alone(given, made) + self.fetching * float(entries)


def sample_widths(channels: ChannelGraph) -> list[np.ndarray]:
    """Units of the networks that are timed: a list of bool `[num_units + 1]`."""
    rng, found = np.random.default_rng(0), []
    for share, multiple in NETWORKS:
        keep = np.ones(channels.num_units + 1, bool)
        for group in channels.groups:
            wanted = group.size * share * np.exp(JITTER * rng.standard_normal())
            step = multiple if group.size >= 2 * multiple else 1
            width = min(max(round(wanted / step), 1) * step, group.size)
            keep[group.units[width:]] = False
        found.append(keep)
    return found


def operations_text(channels: ChannelGraph, keep: np.ndarray) -> str:
    """The operations of a network with some of the channels, as a JSON list.

    Args:
        channels: `ChannelGraph`.
        keep: bool `[num_units + 1]`.
    """
    found = []
    for call in executed_calls(channels):
        sides = (channel_entries(channels, t) for t in (call.inputs, call.outputs))
        counts = [int(keep[units].sum()) for units in sides]
        found.append([signature_digest(signature(channels, call)), *counts])
    return json.dumps(found)


def operation_kind(text: str) -> str:
    """Which of `KINDS` an operation is.

    Args:
        text: string, its signature.
    """
    name = signature_class(text)
    if not has_kernel(name):
        return "bytes"
    if "Depthwise" in name or "Separable" in name:
        return "depthwise"
    return "pointwise" if _kernel_size(text) == 1 else "spatial"


def kernel_entries(text: str) -> np.ndarray:
    """Entries of an operation's kernel: for each output, and each input and output.

    Args:
        text: string, its signature.
    """
    kind = operation_kind(text)
    if kind == "bytes":
        return np.zeros(2)
    size = _kernel_size(text)
    return np.array([size, 0.0] if kind == "depthwise" else [0.0, size], float)


def _kernel_size(text: str) -> int:
    return int(np.prod(json.loads(text)["config"].get("kernel_size", [1])))


def fit_factors(
    parts: np.ndarray, entries: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, float]:
    """The factors of several kinds of operations at which networks take their time.

    They are those of least squares of relative errors that stay near to one factor for
    all, the dense network's, without anything to fetch.

    Args:
        parts: float `[networks, kinds]`, what the operations take one by one; the dense
            network's first.
        entries: float `[networks]`, those of all kernels.
        times: float `[networks]`, what the networks take.

    Returns:
        The factors `[kinds]`, and milliseconds for each entry. The dense network's time
        is met.
    """
    one = times[0] / max(parts[0].sum(), 1e-12)
    each = times[0] / max(entries[0], 1.0)
    features = np.column_stack([one * parts, each * entries])
    near = 1.0 / np.array([*[SPREAD] * parts.shape[1], FETCHING])
    wanted = np.array([*[1.0] * parts.shape[1], 0.0])
    found = nonnegative(
        np.concatenate([features / times[:, None] / NOISE, np.diag(near)]),
        np.concatenate([np.full(len(times), 1.0 / NOISE), near * wanted]),
    )
    found *= times[0] / max(features[0] @ found, 1e-12)
    return found[:-1] * one, float(found[-1] * each)
