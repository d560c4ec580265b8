"""The checks before training and before delivery: both sides compute the same."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_lossprune.equivalence import Difference, Network, find_difference
from tf_lossprune.errors import DifferenceError
from tf_lossprune.gates import ungated
from tf_lossprune.graph import ChannelGraph, Graph
from tf_lossprune.graph.call_inputs import call_arguments
from tf_lossprune.graph.constants import dead_values, kept_part
from tf_lossprune.surgery import cut
from tf_lossprune.training import PrunedModel
from tf_lossprune.training.network import gated_network
from tf_lossprune.values import numpy_of

_SAFE = (
    "What was trained is safe, in the pruned model (`error.pruned` of this error): "
    "`save_weights` keeps it, and `strip_pruning(pruned, check=False)` takes the "
    "compact model out (`error.compact`), which you can evaluate on your data."
)


def check_copy(
    model: keras.Model, graph: Graph, names: dict, pruned: PrunedModel
) -> None:
    """Compares a wrapped model with all channels kept against the one it is made of.

    Args:
        model: the user's `keras.Model`.
        graph: its `Graph`.
        names: dict, id of its operations -> name of their copies.
        pruned: `PrunedModel`.

    Raises:
        DifferenceError: if they differ; the message names the first layer that does.
    """
    expected = Network(
        model, lambda x: x, lambda o: names[id(o)], graph=graph, call=call_model
    )
    gates = np.ones(pruned.channel_graph.num_units + 1, "float32")
    with _as_they_are(model, pruned.network):
        found = find_difference(graph, expected, _gated(pruned.network, gates))
    if found is not None:
        raise DifferenceError(
            "Expected a copy of the model that computes what the model does, before "
            f"anything is cut. {_cause(found)} cannot be copied faithfully: does it "
            "keep state outside of its weights, or compute with a layer or variable "
            "that it does not hold as an attribute? Please report the model. "
            f"Received: {found}",
            pruned,
        )


@contextlib.contextmanager
def _as_they_are(*models: keras.Model) -> Iterator[None]:
    """Undoes what calls change in models: counters, averages that code keeps."""
    variables = {id(v): v for model in models for v in model.non_trainable_variables}
    before = [(v, numpy_of(v)) for v in variables.values()]
    try:
        yield
    finally:
        for variable, value in before:
            if not np.array_equal(numpy_of(variable), value):
                variable.assign(value)


def call_model(model: keras.Model, inputs: Any) -> Any:
    """Calls a model in inference; several arguments of a `call` come in a list."""
    if isinstance(inputs, list) and len(call_arguments(model)) == len(inputs) > 1:
        return model(*inputs, training=False)
    return model(inputs, training=False)


def check_compact(
    pruned: PrunedModel,
    compact: keras.Model,
    keep: np.ndarray | None = None,
    graph: Graph | None = None,
) -> None:
    """Compares a compact model with the gated one that it is cut from.

    Where the network has been cut already and has trained on, the cut is made and
    compared once more with the weights of that moment, and the model with the network.

    Args:
        pruned: `PrunedModel`.
        compact: what is delivered.
        keep: bool `[num_units + 1]` or None, the units that it has; None: those that
            are fixed in the pruned model.
        graph: `Graph` of the pruned model's network if it is compact, where it has
            been traced already.

    Raises:
        DifferenceError: if they differ; the message names the first layer that does.
    """
    keep = pruned.kept_units() if keep is None else keep
    gated, made = pruned.network, compact
    if pruned.is_compact:
        gated = gated_network(compact.name, pruned.channel_graph)
        made = cut(pruned.channel_graph, keep, compact.name)
    try:
        with _as_they_are(gated, made, pruned.network, compact):
            found = find_difference(
                pruned.channel_graph.graph,
                _kept_parts(pruned.channel_graph, keep, gated),
                Network(made),
            )
            if found is None and pruned.is_compact:
                network = Network(pruned.network, graph=graph)
                found = find_difference(network.traced(), network, Network(compact))
    except Exception as error:
        raise DifferenceError(
            f"The compact model cannot be run where the gated one can. {_SAFE} "
            f"Please report the model. Received: {type(error).__name__}: {error}",
            pruned,
            compact,
        ) from error
    if found is not None:
        raise DifferenceError(
            "The compact model does not compute what the gated model does: the rule "
            f"of {_cause(found)} is wrong. If the rule is yours, `check_rule` helps to "
            "fix it; otherwise exclude that layer, and please report the model. "
            f"{_SAFE} Received: {found}",
            pruned,
            compact,
        )


def _kept_parts(
    channels: ChannelGraph, keep: np.ndarray, gated: keras.Model
) -> Network:
    """A gated network as one side of a comparison, of which the kept channels count."""
    made, counts = {}, {}
    dead = dead_values(channels, keep)
    for call in channels.graph.calls:
        name = call.operation.name
        counts[name] = counts.get(name, -1) + 1
        made[name, counts[name]] = call

    def part(name: str, number: int, values: list) -> list | None:
        call = made[name, number]
        if any(id(t) in dead for t in (*call.inputs, *call.outputs)):
            return None
        pairs = zip(call.outputs, values, strict=True)
        return [kept_part(channels, tensor, value, keep) for tensor, value in pairs]

    found = _gated(gated, keep.astype("float32"))
    found.part = part
    return found


def _gated(network: keras.Model, gates: np.ndarray) -> Network:
    """The gated network as one side of a comparison."""
    return Network(network, lambda x: [x, gates], lambda o: ungated(o).name)


def _cause(found: Difference) -> str:
    return f"layer {found.layer!r} ({found.kind})" if found.layer else "a layer"
