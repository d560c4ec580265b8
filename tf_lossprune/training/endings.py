"""With which activation a functional model's output ends."""

from tf_lossprune import keras_internals as internals

#: Layers and operations that leave it to the one before what the values mean.
_PASSING = {
    "Cast",
    "Dropout",
    "ExpandDims",
    "Flatten",
    "Identity",
    "Permute",
    "Reshape",
    "Squeeze",
    "Transpose",
}


def last_activation(tensor):
    """The name of the activation that an output comes from.

    Args:
        tensor: `KerasTensor`, an output of a functional model.

    Returns:
        A string such as `"softmax"`; `"linear"` where a layer has none; an empty
        string where that is not known.
    """
    while internals.has_origin(tensor):
        operation, node_index, tensor_index = internals.origin(tensor)
        inner = getattr(operation, "outputs", None)
        if hasattr(operation, "layers") and inner:  # a model inside
            tensor = inner[tensor_index]
            continue
        name = _activation(operation)
        if name is not None:
            return name
        parents = internals.parents(operation, node_index)
        if len(parents) != 1:
            break
        tensor = parents[0]
    return ""


def _activation(operation):
    """An operation's activation; None: it has the one of what came before."""
    kind = type(operation).__name__
    if kind in ("Softmax", "Sigmoid"):
        return kind.lower()
    layer = operation
    while hasattr(layer, "layer"):  # TimeDistributed and other wrappers
        layer = layer.layer
    if not hasattr(layer, "activation"):
        return None if kind in _PASSING else ""
    name = getattr(layer.activation, "__name__", None) or "linear"
    return None if kind == "Activation" and name == "linear" else name
