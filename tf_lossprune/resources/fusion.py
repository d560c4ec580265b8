"""What LiteRT's converter merges into the operation before it, or drops."""

from typing import Any

import keras
from keras import tree

from tf_lossprune.graph import Call, Graph

layers = keras.layers
#: What passes on its input unchanged.
_TRANSPARENT = (
    layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D,
    layers.SpatialDropout3D, layers.GaussianNoise, layers.GaussianDropout,
    layers.AlphaDropout, layers.ActivityRegularization, layers.Identity,
    layers.Flatten, layers.Reshape,
)  # fmt: skip
#: Layers whose kernel takes up a batch normalisation that follows.
_ABSORBING = (
    layers.Conv1D, layers.Conv2D, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.SeparableConv1D, layers.SeparableConv2D, layers.Conv1DTranspose,
    layers.Conv2DTranspose, layers.Dense, layers.EinsumDense,
)  # fmt: skip
#: Activation functions that LiteRT kernels can end with, and classes of which they can.
MERGED_ACTIVATIONS = ("relu", "relu6")
_ENDING = {
    "Add", "Subtract", "Multiply", "BatchNormalization", "LayerNormalization",
    "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D",
    *(layer.__name__ for layer in _ABSORBING),
}  # fmt: skip


def merged_calls(graph: Graph) -> dict[int, Call]:
    """Finds the calls that need no operation and no tensor of their own.

    Args:
        graph: `Graph`.

    Returns:
        Dict, id of such a call -> the call that it becomes a part of.
    """
    readers = graph.readers()
    folded = folded_normalizations(graph)
    given = {id(t) for t in tree.flatten(graph.inputs)}
    root, found = {}, {}
    ending = set()  # tensors after which a kernel can still have an activation
    for call in graph.calls:
        source = id(call.inputs[0]) if len(call.inputs) == 1 else -1
        free = source >= 0 and readers[source] == 1 and source not in given
        passing = _passes(call.operation)
        taken_up = source in ending and _is_merged_activation(call.operation)
        if free and (passing or taken_up or id(call) in folded):
            found[id(call)] = root[source]
        for tensor in call.outputs:
            root[id(tensor)] = found.get(id(call), call)
            if (source in ending) if passing else _can_end(call.operation):
                ending.add(id(tensor))
    return found


def folded_normalizations(graph: Graph) -> dict[int, Call]:
    """Finds the batch normalisations that become a part of a kernel.

    A kernel takes up what follows it, if it ends without an activation. A dense layer
    with a bias also takes up what stands right before it.

    Args:
        graph: `Graph`.

    Returns:
        Dict, id of such a call -> the call of the layer whose kernel it is.
    """
    readers = graph.readers()
    reader = {id(t): call for call in graph.calls for t in call.inputs}
    linear, found = {}, {}
    for call in graph.calls:
        operation = call.operation
        if not call.inputs or not call.outputs:
            continue
        source, target = id(call.inputs[0]), id(call.outputs[0])
        before = linear.get(source) if readers[source] == 1 else None
        if isinstance(operation, layers.BatchNormalization):
            if before is not None and _same_channels(call, before):
                found[id(call)] = linear[target] = before
            elif readers[target] == 1 and _folds_forward(call, reader.get(target)):
                found[id(call)] = reader[target]
        elif isinstance(operation, _TRANSPARENT):
            linear[target] = before
        elif isinstance(operation, _ABSORBING) and _is_linear(operation):
            linear[target] = call
    return found


def _same_channels(call: Call, before: Call) -> bool:
    """Whether a normalisation's channels are still those that the kernel made."""
    kernel = before.outputs[0].shape[_axis(before.operation)]
    return call.inputs[0].shape[call.operation.axis] == kernel


def _axis(layer: keras.layers.Layer) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _folds_forward(call: Call, reader: Call | None) -> bool:
    operation = None if reader is None else reader.operation
    last = call.operation.axis in (-1, len(call.inputs[0].shape) - 1)
    return isinstance(operation, layers.Dense) and operation.use_bias and last


def _is_linear(operation: Any) -> bool:
    return operation.activation is keras.activations.linear


def _passes(operation: Any) -> bool:
    if type(operation) is layers.Activation:
        return operation.activation.__name__ == "linear"
    return type(operation) in _TRANSPARENT


def _is_merged_activation(operation: Any) -> bool:
    if type(operation) is layers.Activation:
        return operation.activation.__name__ in MERGED_ACTIVATIONS
    if type(operation) is layers.ReLU:
        bent = operation.negative_slope or operation.threshold
        return not bent and operation.max_value in (None, 6)
    return type(operation).__name__ in ("Relu", "Relu6")  # as functions


def _can_end(operation: Any) -> bool:
    """Whether an operation's kernel can end with an activation that follows."""
    known = any(cls.__name__ in _ENDING for cls in type(operation).__mro__)
    own = getattr(operation, "activation", None)
    return known and own in (None, keras.activations.linear)
