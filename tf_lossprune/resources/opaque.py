"""What no rule counts: which calls these are, and which of them cannot be counted."""

import dataclasses
import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from tf_lossprune.errors import UncountableError
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.graph.tracing import Call
from tf_lossprune.graph.work import OpaqueCall

#: The share of a budgeted resource in opaque layers from which on there is a warning.
NOTABLE = 0.1


@dataclasses.dataclass
class OpaqueLayer:
    """A layer that no rule knows: it is counted, and nothing in it is pruned.

    Attributes:
        layer: string, its name.
        reason: string, why it is opaque.
        share: dict, resource -> its share of the dense cost, 0 to 1; of the peak
            memory, how much of it is taken while the layer runs.
    """

    layer: str
    reason: str
    share: dict[str, float]

    def __str__(self) -> str:
        shares = ", ".join(f"{value:.1%} of {n}" for n, value in self.share.items())
        return f"{self.layer} ({self.reason}): {shares}"


def opaque_layers(
    channels: ChannelGraph, costs: Mapping[str, Any]
) -> list[OpaqueLayer]:
    """Lists the opaque layers, and the operations among them that cost something.

    Args:
        channels: `ChannelGraph`.
        costs: dict, resource -> `CostFunction`.
    """
    found = {}
    for call, opaque in opaque_calls(channels):
        operation, work = call.operation, opaque.work
        if work.macs or isinstance(operation, keras.layers.Layer):
            found.setdefault(operation.name, opaque.reason)
    return [
        OpaqueLayer(
            name, reason, {r: cost.fixed_share([name]) for r, cost in costs.items()}
        )
        for name, reason in found.items()
    ]


def warn_of_opaque(
    channels: ChannelGraph, costs: Mapping[str, Any], budgeted: Iterable[str]
) -> None:
    """Warns once if much of what is budgeted cannot be pruned.

    Args:
        channels: `ChannelGraph`.
        costs: dict, resource -> `CostFunction`.
        budgeted: iterable of names of resources.
    """
    found = opaque_layers(channels, costs)
    names = [entry.layer for entry in found]
    texts, largest = [], {}
    for resource in budgeted:
        share = costs[resource].fixed_share(names)
        if share > NOTABLE:
            texts.append(f"{share:.0%} of {resource}")
            for entry in sorted(found, key=lambda e: -e.share[resource])[:3]:
                largest[entry.layer] = f"{entry.layer!r} ({entry.reason})"
    if texts:
        warnings.warn(
            f"{' and '.join(texts)} cannot be pruned: it is in layers without a rule, "
            f"the largest {', '.join(largest.values())}. The budget still holds, so "
            "more is cut elsewhere. `register_rule` adds a rule for a layer; "
            "`inspect_model` lists all of them.",
            stacklevel=3,
        )


def opaque_calls(channels: ChannelGraph) -> list[tuple[Call, OpaqueCall]]:
    """The calls that were counted from their operations, in order.

    Args:
        channels: `ChannelGraph`.
    """
    found = []
    for call in channels.graph.calls:
        opaque = channels.record(call.operation).opaque.get(id(call))
        if opaque is not None:
            found.append((call, opaque))
    return found


def check_counted(channels: ChannelGraph, resource: str) -> None:
    """Raises `UncountableError` if the operations of an opaque layer are not known.

    Args:
        channels: `ChannelGraph`.
        resource: string, the name of the resource, for the message.
    """
    for call, opaque in opaque_calls(channels):
        name = call.operation.name
        if opaque.work.unknown and not any(None in t.sizes for t in call.inputs):
            raise UncountableError(
                f"{resource} of layer {name!r} cannot be counted: "
                f"{opaque.work.unknown}. Write the layer with operations of Keras or "
                "of the backend, or declare its cost in a rule (`register_rule`, "
                "`context.products`); budgets on params and size_bytes do not need "
                f"it. Received: {type(call.operation).__name__} {name!r}"
            )


def check_sizes(channels: ChannelGraph, resource: str) -> None:
    """Raises `UncountableError` if the size of a tensor is not known.

    Args:
        channels: `ChannelGraph`.
        resource: string, the name of the resource, for the message.
    """
    for call in channels.graph.calls:
        for tensor in (*call.inputs, *call.outputs):
            if None in tensor.sizes:
                raise unknown_sizes(resource, call.operation.name, tensor.shape)


def unknown_sizes(resource: str, layer: str, shape: tuple) -> UncountableError:
    """The error for a tensor of unknown size."""
    return UncountableError(
        f"{resource} can only be counted on static shapes: build the model with "
        "`keras.Input(shape=...)` without None, or pass the shape to count for as "
        f"`input_shape=`. Received: layer {layer!r} with a tensor of shape {shape}"
    )


def undeclared_weights(channels: ChannelGraph) -> dict[str, int]:
    """Entries of the weights that no rule declared, each variable once.

    Args:
        channels: `ChannelGraph`.

    Returns:
        Dict, layer name -> their number.
    """
    known = {
        id(record.weight(name))
        for record in channels.records.values()
        for name in record.weights
    }
    found: dict[str, int] = {}
    for layer in channels.graph.layers:
        rest = [w for w in layer.weights if id(w) not in known]
        known.update(map(id, rest))
        if rest:
            entries = sum(math.prod(w.shape) for w in rest)
            found[layer.name] = found.get(layer.name, 0) + entries
    return found
