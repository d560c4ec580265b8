"""Layers, and what is inside those of attention."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras

#: Where Keras itself keeps the layers inside a layer, besides the user's attributes.
LISTS_OF_LAYERS = frozenset(["_layers", "_metrics", "_functional"])
#: Where it keeps the variables and the like.
LISTS_OF_WEIGHTS = frozenset(
    ["_trainable_variables", "_non_trainable_variables", "_seed_generators", "_tracker"]
    + ["_losses", "_loss_ids", "_losses_override", "_inbound_nodes", "_outbound_nodes"]
)
#: How the attributes begin in which TensorFlow keeps account of a layer.
OF_TENSORFLOW = "_self_"


def all_layers(model: keras.Layer, include_self: bool = True) -> list:
    """A model's layers at any depth."""
    return list(model._flatten_layers(include_self=include_self, recursive=True))


def takes_training(operation: Any) -> bool:
    """Whether a layer's `call` has an argument `training`."""
    return bool(getattr(operation, "_call_has_training_arg", False))


def requires_training(operation: Any) -> bool:
    """Whether a layer has to be told the mode: its argument has no default."""
    if not takes_training(operation):
        return False
    mode = inspect.signature(operation.call).parameters.get("training")
    return mode is not None and mode.default is mode.empty


def forget_build_shapes(layer: keras.Layer) -> None:
    """Lets a layer's config not say with which shapes it was built."""
    layer._build_shapes_dict = None


def untrack(model: Any, inner: keras.Layer) -> None:
    """Takes an inner layer from a built model, which can then get another one."""
    model._tracker.unlock()
    model._tracker.untrack(inner)


@contextlib.contextmanager
def any_input_sizes(*models: keras.Model) -> Iterator[None]:
    """Lets functional models, and those inside, take inputs of sizes not their own."""
    name = "_manual_input_spec"
    found = [layer for model in models for layer in all_layers(model)]
    found = [layer for layer in found if isinstance(layer, keras.Function)]
    before = [(layer, vars(layer).get(name, False)) for layer in found]
    for layer in found:
        layer.input_spec = None
    try:
        yield
    finally:
        for layer, spec in before:
            if spec is False:
                delattr(layer, name)
            else:
                layer.input_spec = spec


def kept_axes(layer: Any) -> tuple[int, ...]:
    """The axes along which a `Normalization` has statistics."""
    return layer._keep_axis


def layers_of_applications(*names: str) -> list:
    """The layer classes of these names that `keras.applications` has for itself."""
    try:
        from keras.src.applications import convnext
    except ImportError:
        return []
    return [getattr(convnext, name) for name in names if hasattr(convnext, name)]


def clear_losses(layer: keras.Layer) -> None:
    """Drops what a layer has added to the loss."""
    layer._clear_losses()


#: The layers inside an attention layer that make its queries, keys and values.
PROJECTIONS = ("_query_dense", "_key_dense", "_value_dense")
#: The one that makes its output, and the one of a gate (newer versions).
OUTPUT_PROJECTION, GATE_PROJECTION = "_output_dense", "_gate_dense"


def output_projection(layer: Any) -> keras.Layer:
    """The layer inside an attention layer that makes its output."""
    return getattr(layer, OUTPUT_PROJECTION)


def without_output_projection(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """What an attention layer returns if what its heads give is not projected.

    Args:
        layer: attention layer.
        *args, **kwargs: what it is called with.
    """
    projection = output_projection(layer)
    # As no layer, and past the account that Keras keeps of a built layer's attributes.
    object.__setattr__(layer, OUTPUT_PROJECTION, lambda x, *_, **__: x)
    try:
        return layer(*args, **kwargs)
    finally:
        object.__setattr__(layer, OUTPUT_PROJECTION, projection)


def with_kernel(layer: Any, kernel: keras.Variable) -> Any:
    """An unbuilt layer without bias, whose kernel is a variable that there is already.

    Args:
        layer: dense layer, convolution or embedding.
        kernel: its kernel or table.
    """
    depthwise = keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D
    transposed = (
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
    )
    if isinstance(layer, keras.layers.Embedding):
        layer._embeddings = kernel
    elif isinstance(layer, (*depthwise, *transposed)):
        layer.kernel, layer.bias = kernel, None
    else:
        layer._kernel, layer.bias = kernel, None
    layer.trainable = kernel.trainable
    layer.built = True
    return layer


def give_bias(layer: Any, bias: keras.Variable) -> None:
    """Gives a layer of `with_kernel` a bias that there is already."""
    layer.bias, layer.use_bias = bias, True
