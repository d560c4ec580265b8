"""What LiteRT's converter merges into the operation before it, or drops."""

import keras
from keras import tree

layers = keras.layers
MERGED = (
    layers.BatchNormalization, layers.ReLU, layers.Dropout, layers.SpatialDropout1D,
    layers.SpatialDropout2D, layers.SpatialDropout3D, layers.GaussianNoise,
    layers.GaussianDropout, layers.AlphaDropout, layers.ActivityRegularization,
    layers.Identity, layers.Flatten, layers.Reshape,
)  # fmt: skip
#: Activation functions that every LiteRT kernel can end with.
MERGED_ACTIVATIONS = ("relu", "relu6", "linear")


def merged_calls(graph):
    """Finds the calls that need no operation and no tensor of their own.

    Args:
        graph: `Graph`.

    Returns:
        Dict, id of such a call -> the call that it becomes a part of.
    """
    readers = graph.readers()
    given = {id(t) for t in tree.flatten(graph.inputs)}
    root, found = {}, {}
    for call in graph.calls:
        source = call.inputs[0] if len(call.inputs) == 1 else None
        merged = (
            source is not None
            and _is_merged(call.operation)
            and readers[id(source)] == 1
            and id(source) not in given
        )
        if merged:
            found[id(call)] = root[id(source)]
        for tensor in call.outputs:
            root[id(tensor)] = found.get(id(call), call)
    return found


def folds_into_kernel(call, merged):
    """Whether a batch normalisation becomes part of the kernel before it.

    Args:
        call: `Call`.
        merged: what `merged_calls` found.
    """
    before = merged.get(id(call))
    return (
        isinstance(call.operation, layers.BatchNormalization)
        and before is not None
        and call.inputs[0] is before.outputs[0]
        and getattr(before.operation, "kernel", None) is not None
    )


def _is_merged(operation):
    if type(operation) is layers.Activation:
        return operation.activation.__name__ in MERGED_ACTIVATIONS
    return type(operation) in MERGED
