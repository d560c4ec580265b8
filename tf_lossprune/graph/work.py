"""What runs for one sample: the sizes of all tensors, and calls that no rule counts."""

import dataclasses
import math

import keras
from keras import tree

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.recording import Recording, make_recorder
from tf_lossprune.graph.rules.elementwise import mixes_channels
from tf_lossprune.graph.tracing import Tensor

#: Frozen layers that never multiply, and whose operations no recorder can read.
NO_MACS = {
    "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "InputLayer",
    "IntegerLookup", "Masking", "StringLookup", "TextVectorization",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OpaqueCall:
    """A call that was counted from its operations, as no rule counts it.

    Attributes:
        reason: string, why its channels are frozen.
        work: `Recording`, what it computes.
    """

    reason: str
    work: Recording


class Work:
    """Follows the calls of a graph for a batch of one sample.

    Args:
        graph: `Graph`; the `sizes` of its tensors are set.
        input_shape: as in `analyze`.
    """

    def __init__(self, graph, input_shape=None):
        inputs = tree.flatten(graph.inputs)
        for tensor, shape in zip(inputs, _reference(graph, input_shape)):
            tensor.sizes = (1, *shape)
        self._batches = {None, *(t.shape[0] for t in inputs if t.shape)}
        self._readers = graph.readers()
        self._recorder = None

    def begin(self, call):
        """Sets the sizes of a call's outputs as far as its rule may ask for them."""
        alone = type(call.operation).__name__ != "Reshape" or call.is_layer
        if (
            alone
            and all(
                t.batch_axis == 0 and t.sizes == (1, *t.sample_shape)
                for t in call.inputs
            )
            and all(self._is_sample(t) for t in call.outputs)
        ):
            shapes = [(1, *t.shape[1:]) for t in call.outputs]
        elif type(call.operation).__module__.startswith(("keras.", "tf_lossprune.")):
            shapes = self._computed(call)
        else:
            shapes = [(None,) * len(t.shape) for t in call.outputs]
        self._set(call, shapes)

    def follow(self, ctx, rule):
        """Sets the sizes of the outputs of a call that moves the batch or is opaque.

        Args:
            ctx: `Context` to which the rule has been applied.
            rule: `Rule` or None.

        Returns:
            An `OpaqueCall`, or None where the rule tells what is computed.
        """
        if _needs_recording(ctx, rule):
            work = self._call(ctx)
            if ctx.frozen is None and (work.unknown or not work.macs):
                return None  # a rule of the user's, who knows better
            return OpaqueCall(ctx.frozen or "its rule counts nothing", work)
        if ctx.frozen is not None:
            self._set(ctx.call, self._computed(ctx.call))
        function = getattr(ctx.layer, "activation", None)
        if ctx.counted and mixes_channels(function) and not _is_stock(function):
            return OpaqueCall(
                "its activation is a function of your own", self._activation(ctx)
            )
        return None

    def _call(self, ctx):
        call = ctx.call
        kwargs = dict(call.kwargs)
        if internals.takes_training(ctx.layer):
            kwargs["training"] = False
        distinct = list({id(t): t for t in call.inputs}.values())

        def function(*tensors):
            given = dict(zip(map(id, distinct), tensors))
            args = _replaced([call.args, kwargs], lambda t: given[id(t)])
            return tree.flatten(ctx.layer(*args[0], **args[1]))

        read = [bool(self._readers[id(t)]) for t in call.outputs]
        work, shapes = self._record(function, distinct, read)
        self._set(call, self._computed(call) if shapes is None else shapes)
        return work

    def _activation(self, ctx):
        output = ctx.call.outputs[0]
        function = ctx.layer.activation
        return self._record(lambda x: [function(x)], [output], [True])[0]

    def _record(self, function, given, read):
        """A `Recording` and the outputs' shapes; None for shapes that stay unknown."""
        if any(None in t.sizes for t in given):
            return Recording(math.nan, unknown="its sizes are not known"), None
        self._recorder = self._recorder or make_recorder()
        if self._recorder is None:
            backend = keras.backend.backend()
            return Recording(math.nan, unknown=f"backend {backend!r}"), None
        inference = _Inference(function)
        given = [(t.sizes, t.dtype) for t in given]
        try:
            return self._recorder.record(inference, given, read)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            why = f"recording it failed with {type(error).__name__}: {text}"
            return Recording(math.nan, unknown=why), None

    def _is_sample(self, tensor):
        shape = tensor.shape
        return bool(shape) and shape[0] in self._batches and None not in shape[1:]

    def _set(self, call, shapes):
        for tensor, shape in zip(call.outputs, shapes):
            unknown = (None,) * len(tensor.shape)
            tensor.sizes = unknown if shape is None else tuple(shape)

    def _computed(self, call):
        """What Keras says about a batch of one sample."""
        if any(None in t.sizes for t in call.inputs):
            return [(None, *t.shape[1:]) for t in call.outputs]
        args, kwargs = _replaced(
            [call.args, call.kwargs], lambda t: keras.KerasTensor(t.sizes, t.dtype)
        )
        try:
            spec = call.operation.compute_output_spec(*args, **kwargs)
        except Exception:  # whatever a layer says to a batch of one
            if self._batches == {None}:
                return [(None,) * len(t.shape) for t in call.outputs]
            return [(1, *t.shape[1:]) for t in call.outputs]
        return [t.shape for t in tree.flatten(spec)]


class _Inference(keras.layers.Layer):
    """Calls a function as a part of a model that predicts."""

    def __init__(self, function):
        super().__init__(name="recorded", autocast=False)
        self._function = function
        self.built = True

    def __call__(self, *tensors):
        return super().__call__(list(tensors), training=False)

    def call(self, tensors, training=None):
        return self._function(*tensors)


def _needs_recording(ctx, rule):
    if ctx.counted:
        return False
    if rule is None or not rule.apply.__module__.startswith("tf_lossprune."):
        return True
    if ctx.frozen is None or type(ctx.layer).__name__ in NO_MACS:
        return False
    return rule.effect != "carries" or isinstance(ctx.layer, keras.layers.Activation)


def _is_stock(function):
    return getattr(function, "__module__", "").startswith("keras.")


def _replaced(struct, function):
    return tree.map_structure(
        lambda x: function(x) if isinstance(x, Tensor) else x, struct
    )


def _reference(graph, input_shape):
    """The shapes of the inputs' samples, `input_shape` where it is given."""
    inputs = tree.flatten(graph.inputs)
    declared = [t.sample_shape for t in inputs]
    if input_shape is None:
        return declared
    given = _shapes(input_shape, graph.inputs)
    fits = len(given) == len(declared) and all(
        len(g) == len(d) and all(y is None or x == y for x, y in zip(g, d))
        for g, d in zip(given, declared)
    )
    if not fits:
        raise ValueError(
            "Expected input_shape as the shape of one sample (for several inputs a "
            f"list of them, or a dict as the model takes it) that fits {declared}. "
            f"Received: {input_shape!r}"
        )
    return given


def _shapes(input_shape, inputs):
    if isinstance(input_shape, dict) and isinstance(inputs, dict):
        if set(input_shape) != set(inputs):
            return []  # fits nothing
        return [tuple(input_shape[key]) for key in sorted(inputs)]
    if isinstance(input_shape, (tuple, list)):
        if all(isinstance(d, int) and d > 0 for d in input_shape):
            return [tuple(input_shape)]
        if all(isinstance(shape, (tuple, list)) for shape in input_shape):
            return [tuple(shape) for shape in input_shape]
    return []
