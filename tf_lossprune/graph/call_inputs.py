"""What a subclassed model is called with: the shapes of its inputs."""

import inspect

import keras
from keras import tree

from tf_lossprune import keras_internals as internals

#: Layers that take whole numbers, and the places of such among operations' arguments.
_COUNTING = (
    keras.layers.CategoryEncoding,
    keras.layers.Embedding,
    keras.layers.HashedCrossing,
    keras.layers.Hashing,
    keras.layers.IntegerLookup,
)
_INDICES = {"OneHot": 0, "MultiHot": 0, "Take": 1, "TakeAlongAxis": 1}
#: Operations and layers that only move entries.
_MOVING = {
    "BroadcastTo", "Cast", "Concatenate", "ConvertToTensor", "ExpandDims", "Flatten",
    "Flip", "GetItem", "Identity", "Permute", "Repeat", "Reshape", "Slice", "Split",
    "Squeeze", "Stack", "Swapaxes", "Tile", "Transpose", "Unstack",
}  # fmt: skip


def call_arguments(model, required=False):
    """The names of the tensors that a model's `call` takes, or those it must have."""
    return [
        name
        for name, parameter in inspect.signature(model.call).parameters.items()
        if parameter.kind
        in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in ("training", "mask")
        and not (required and parameter.default is not parameter.empty)
    ]


def placeholders(model, input_shape):
    """The arguments that a subclassed model is called with, as Keras tensors."""
    names = call_arguments(model)
    if isinstance(model, keras.Function):  # with a `call` of its own
        return (internals.input_structure(model),)
    if input_shape is not None:
        shapes = _with_batch(input_shape)
        several = isinstance(shapes, list) and len(names) == len(shapes) > 1
        shapes = shapes if several else [shapes]
    else:
        known = internals.shapes_at_build(model)
        if not model.built or not known:
            raise ValueError(
                f"The inputs of {type(model).__name__} are not known yet. Call it once "
                "on a batch of data, or give `input_shape=`, the shape of one sample "
                f"(for several inputs a list or dict of them). Received: "
                f"{model.name!r}, {'without shapes' if model.built else 'unbuilt'}"
            )
        shapes = [_any_batch(shape) for shape in known.values()]
        if len(call_arguments(model, required=True)) > len(shapes):
            raise ValueError(
                f"{type(model).__name__} takes several inputs ({', '.join(names)}), of "
                "which Keras only knows the first one's shape. Give `input_shape=`, a "
                f"list of the shapes of one sample. Received: {model.name!r}"
            )
    dtype = model.input_dtype if model.autocast else keras.config.floatx()

    def make(shape):
        return keras.KerasTensor(shape, dtype, name="input")

    args = [tree.map_shape_structure(make, shape) for shape in shapes]
    for name, arg in zip(names, args):
        if isinstance(arg, keras.KerasTensor):
            arg.name = name
    return tuple(args)


def as_integers(args, graph):
    """The arguments with whole numbers where these are asked for; None: nowhere.

    Keras does not remember what types a model was called with.

    Args:
        args: what `placeholders` returned.
        graph: `Graph` of the model that was opened with them.
    """
    wanted = set()
    for call in reversed(graph.calls):
        operation, name = call.operation, type(call.operation).__name__
        if isinstance(operation, _COUNTING):
            wanted.add(id(call.args[0]))
        elif name in _INDICES and len(call.args) > _INDICES[name]:
            wanted.add(id(call.args[_INDICES[name]]))
        elif name in _MOVING and any(id(t) in wanted for t in call.outputs):
            wanted.update(id(t) for t in call.data)
    inputs = [id(t) in wanted for t in tree.flatten(graph.inputs)]
    if not any(inputs):
        return None
    asked = iter(inputs)

    def make(x):
        return keras.KerasTensor(
            x.shape, "int32" if next(asked) else x.dtype, name=x.name
        )

    return tree.map_structure(make, args)


def _any_batch(shape):
    return tree.map_shape_structure(lambda s: (None, *s[1:]), shape)


def _with_batch(shape):
    return tree.map_shape_structure(lambda s: (None, *s), shape)
