"""Graphs of functional models, and where a class comes from."""

import contextlib
import inspect
import string
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np


def is_stock_operation(klass: type) -> bool:
    """Whether a class is that of a function in `keras.ops`."""
    return klass.__module__.startswith(("keras.src.ops.", "keras.src.activations."))


def functional_class(model: keras.Model) -> Any:
    """The class of functional models, among a model's bases."""
    return next(c for c in type(model).__mro__ if c.__name__ == "Functional")


def functional_part(model: keras.Model) -> keras.Function | None:
    """The functional model inside a Sequential one; None: it has no inputs yet."""
    return getattr(model, "_functional", None)


def input_structure(function: keras.Function) -> Any:
    """The inputs, as structured as a call gets them."""
    return function._inputs_struct


def output_structure(function: keras.Function) -> Any:
    """The outputs, as structured as a call returns them."""
    return function._outputs_struct


def nodes_in_order(function: Any) -> Iterator[Any]:
    """The nodes of a graph, each behind those whose outputs it takes."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        yield from function._nodes_by_depth[depth]


def has_origin(tensor: Any) -> bool:
    """Whether a tensor knows the operation that it comes from."""
    return hasattr(tensor, "_keras_history")


def origin(tensor: Any) -> tuple:
    """The operation a tensor comes from, the index of its node and of the output."""
    return tensor._keras_history


def parents(operation: keras.Operation, node_index: int) -> list:
    """The tensors that a call of an operation took."""
    return operation._inbound_nodes[node_index].input_tensors


def run_graph(
    function: keras.Function, inputs: Any, operation: Callable, call: Callable
) -> Any:
    """Calls all operations of a graph anew.

    Args:
        function: functional model.
        inputs: structure of tensors.
        operation: function of an operation, which returns the one to call.
        call: function `(operation, *args, **kwargs)` that calls it.
    """
    return function._run_through_graph(inputs, operation_fn=operation, call_fn=call)


def forget_mask(tensor: Any) -> None:
    """Takes from a tensor the mask that a layer attached."""
    if hasattr(tensor, "_keras_mask"):
        tensor._keras_mask = None


def mask_of(tensor: Any) -> Any:
    """The mask that a layer attached to a tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def attach_mask(tensor: Any, mask: Any) -> None:
    """Attaches a mask to a tensor."""
    tensor._keras_mask = mask


def alias(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """Another symbolic tensor that stands for the same, with its mask."""
    made = keras.KerasTensor(tensor.shape, tensor.dtype, name=tensor.name)
    if mask_of(tensor) is not None:
        made._keras_mask = mask_of(tensor)
    return made


def set_shape(tensor: Any, shape: tuple) -> None:
    """Gives a symbolic tensor another shape."""
    tensor._shape = tuple(shape)


#: The functions that draw random numbers, and the modules from which they are called.
DRAWS = [
    "beta", "binomial", "dropout", "gamma", "normal", "randint", "truncated_normal",
    "uniform",
]  # fmt: skip
_RANDOM = [
    "keras.random", "keras.src.random", "keras.src.random.random",
    "keras._tf_keras.keras.random",
]  # fmt: skip


def random_function(name: str) -> Callable:
    """A function of `keras.random`, whether draws are being told of or not."""
    function = getattr(keras.random, name)
    return getattr(function, "original", function)


def seeded_draw(name: str, args: tuple, kwargs: dict) -> Any:
    """What a function of `keras.random` draws, from a seed if it was given none.

    Without one it may not be called in a program of JAX.
    """
    function = random_function(name)
    given = inspect.signature(function).bind(*args, **kwargs)
    if given.arguments.get("seed") is None:
        given.arguments["seed"] = 0
    return function(*given.args, **given.kwargs)


@contextlib.contextmanager
def intercepted_draws(on_draw: Callable) -> Iterator[None]:
    """Takes over what draws random numbers, in this thread.

    Args:
        on_draw: function `(name, args, kwargs)`, asked for the numbers; None: they are
            drawn.
    """
    thread = threading.get_ident()
    modules = [sys.modules[name] for name in _RANDOM if name in sys.modules]
    before = {name: getattr(keras.random, name) for name in DRAWS}

    def asking(name: str) -> Callable:
        def draw(*args, **kwargs):
            if threading.get_ident() == thread:
                found = on_draw(name, args, kwargs)
                if found is not None:
                    return found
            return before[name](*args, **kwargs)

        vars(draw)["original"] = before[name]
        return draw

    for name in DRAWS:
        function = asking(name)
        for module in modules:
            vars(module)[name] = function
    try:
        yield
    finally:
        for name, function in before.items():
            for module in modules:
                vars(module)[name] = function


#: The modules from which `ops.shape` and `ops.einsum` are called.
_OPS = (
    "keras.ops",
    "keras.src.ops",
    "keras.src.ops.core",
    "keras.src.ops.numpy",
    "keras._tf_keras.keras.ops",
)


@contextlib.contextmanager
def intercepted_calls(
    on_layer: Callable,
    on_node: Callable,
    on_arguments: Callable = lambda layer, args, kwargs: (args, kwargs),
    on_shape: Callable = lambda tensor: tensor.shape,
    on_loss: Callable = lambda layer, loss: False,
) -> Iterator[None]:
    """Takes over what Keras does for calls on symbolic tensors, in this thread.

    Args:
        on_layer: function `(layer, args, kwargs) -> outputs`, asked for the outputs of
            a layer; the arguments are complete: training and masks are among them.
        on_node: function `(operation, args, kwargs, outputs)`, told of each call, of
            which no graph learns.
        on_arguments: function `(layer, args, kwargs) -> (args, kwargs)`, asked what to
            call a layer with.
        on_shape: function `tensor -> tuple`, asked for what `ops.shape` says.
        on_loss: function `(layer, loss) -> bool`, told of `add_loss`; false: it adds.
    """
    from keras.src.ops.node import Node

    thread, init = threading.get_ident(), Node.__init__
    layer_class: Any = keras.layers.Layer
    symbolic_call, layer_call = layer_class.symbolic_call, layer_class.__call__
    layer_loss = layer_class.add_loss
    modules = [sys.modules[name] for name in _OPS if name in sys.modules]
    shape, item = keras.ops.shape, keras.KerasTensor.__getitem__
    einsum = keras.ops.einsum

    def tell(self, operation, call_args=None, call_kwargs=None, outputs=None):
        if threading.get_ident() == thread:
            on_node(operation, call_args or (), call_kwargs or {}, outputs)
        else:
            init(self, operation, call_args, call_kwargs, outputs)

    def ask(layer, *args, **kwargs):
        if threading.get_ident() == thread:
            return on_layer(layer, args, kwargs)
        return symbolic_call(layer, *args, **kwargs)

    def call(layer, *args, **kwargs):
        if threading.get_ident() == thread:
            args, kwargs = on_arguments(layer, args, kwargs)
        return layer_call(layer, *args, **kwargs)

    def add_loss(layer, loss):
        if threading.get_ident() != thread or not on_loss(layer, loss):
            layer_loss(layer, loss)

    def shape_of(x):
        if threading.get_ident() == thread and isinstance(x, keras.KerasTensor):
            return on_shape(x)
        return shape(x)

    def einsum_of(subscripts, *operands, **kwargs):
        # Keras knows capital letters and spaces of real tensors, not of symbolic ones.
        subscripts = _in_small_letters(subscripts).replace(" ", "")
        return einsum(subscripts, *operands, **kwargs)

    def item_of(x, key):
        # Of symbolic tensors Keras knows `x[None,]`, not `x[None]`, as of real ones,
        # and no whole numbers of NumPy's.
        if key is None or key is Ellipsis or isinstance(key, slice):
            key = (key,)
        if isinstance(key, tuple):
            return item(x, tuple(map(_plain_number, key)))
        return item(x, _plain_number(key))

    patched: Any = Node
    patched.__init__ = tell
    tensor_class: Any = keras.KerasTensor
    tensor_class.__getitem__ = item_of
    layer_class.symbolic_call, layer_class.__call__ = ask, call
    layer_class.add_loss = add_loss
    functions = {"shape": shape_of, "einsum": einsum_of}
    stores = [(vars(m), functions.keys() & vars(m).keys()) for m in modules]
    before = [{name: store[name] for name in names} for store, names in stores]
    for store, names in stores:
        store.update({name: functions[name] for name in names})
    try:
        yield
    finally:
        patched.__init__ = init
        tensor_class.__getitem__ = item
        layer_class.symbolic_call, layer_class.__call__ = symbolic_call, layer_call
        layer_class.add_loss = layer_loss
        for (store, _), function in zip(stores, before):
            store.update(function)


def _plain_number(x: Any) -> Any:
    return int(x) if isinstance(x, np.integer) else x


def _in_small_letters(subscripts: str) -> str:
    """An equation of `einsum` with other letters for its capital ones."""
    free = iter(sorted(set(string.ascii_lowercase) - set(subscripts)))
    capital = sorted({c for c in subscripts if c.isupper()})
    return subscripts.translate({ord(c): next(free, c) for c in capital})


@contextlib.contextmanager
def told_outputs(on_outputs: Callable) -> Iterator[None]:
    """Tells of what layers return, in this thread: `on_outputs(layer, outputs)`."""
    thread = threading.get_ident()
    layer_class: Any = keras.layers.Layer
    layer_call = layer_class.__call__

    def call(layer, *args, **kwargs):
        outputs = layer_call(layer, *args, **kwargs)
        if threading.get_ident() == thread:
            on_outputs(layer, outputs)
        return outputs

    layer_class.__call__ = call
    try:
        yield
    finally:
        layer_class.__call__ = layer_call


def shapes_at_build(layer: Any) -> dict[str, Any] | None:
    """The shapes that a layer was built with, by argument; None: not known."""
    return getattr(layer, "_build_shapes_dict", None)


def operation_class(name: str) -> Any:
    """The class of a function in `keras.ops`."""
    from keras.src.ops import core, image, nn, numpy

    return next(getattr(m, name) for m in (numpy, nn, core, image) if hasattr(m, name))


def spec_of_call(layer: keras.Layer, args: tuple = (), kwargs: Any = None) -> Any:
    """What a layer returns when it is called, as symbolic tensors.

    A functional model returns the only output of a list bare, though its symbolic
    outputs are the list: code that works on tensors would fail on it, and a loss that
    is built with it counts the first sample of a batch alone.

    Args:
        layer: `keras.Layer`.
        args, kwargs: what it is called with, `KerasTensor`s among them.
    """
    outputs = layer.compute_output_spec(*args, **(kwargs or {}))
    alone = isinstance(outputs, (list, tuple)) and len(outputs) == 1
    return outputs[0] if alone and isinstance(layer, keras.Function) else outputs
