"""Weights that are added to a product: the biases of the layers that compute these."""

import collections

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.own_weight import OwnWeight


def take_biases(graph, products):
    """Gives stock layers that stand for products the weights that are added to these.

    Args:
        graph: `Graph`; the additions go, where nothing else reads the product, and it
            has the same bias wherever it is computed.
        products: list of layers with weights of the user's own and without biases.
    """
    readers = collections.defaultdict(list)
    for call in graph.calls:
        for x in call.inputs:
            readers[id(x)].append(call)
    counts = graph.readers()
    shown = {id(t) for _, tensors in graph.results for t in tensors}
    makers = {id(t): call for call in graph.calls for t in call.outputs}
    for layer in products:
        calls = [c for c in graph.calls if c.operation is layer]
        alone = [
            len(found := readers[id(c.outputs[0])]) == counts[id(c.outputs[0])] == 1
            and id(c.outputs[0]) not in shown
            and _adds(found[0])
            for c in calls
        ]
        if not calls or not all(alone):
            continue
        sums = [readers[id(c.outputs[0])][0] for c in calls]
        given = [
            makers.get(id(x))
            for c, total in zip(calls, sums)
            for x in total.inputs
            if x is not c.outputs[0]
        ]
        holder = _bias(graph, layer, given, sums, readers)
        if holder is not None:
            internals.give_bias(layer, holder.weight)
            for call, total in zip(calls, sums):
                call.outputs = total.outputs
            gone = {id(c) for c in (*sums, *given)}
            graph.calls = [c for c in graph.calls if id(c) not in gone]


def _adds(call):
    return type(call.operation).__name__ == "Add" and len(call.inputs) == 2


def _bias(graph, layer, given, sums, readers):
    """The one weight, for each channel and nothing else, that is added; or None.

    Args:
        given: list, the calls that make what is added; None for an input.
        sums: list, the calls that add it.
    """
    holders = {id(c and c.operation) for c in given}
    holder = given[0] and given[0].operation
    if len(holders) > 1 or not isinstance(holder, OwnWeight):
        return None
    uses = [c for c in graph.calls if c.operation is holder]
    read_by = {id(r) for c in uses for t in c.outputs for r in readers[id(t)]}
    made = sums[0].outputs[0]
    fits = (
        getattr(layer, "data_format", None) != "channels_first"
        and holder.shape == made.shape[-1:]
        and not any("value" in c.kwargs for c in uses)
        and read_by == {id(c) for c in sums}
        and holder.weight_trainable == layer.trainable
        and holder.weight.dtype == layer.weights[0].dtype
        and all(c.outputs[0].dtype == layer.compute_dtype for c in sums)
    )
    return holder if fits else None
