"""What layers read once channels are cut, beside what they read before.

A normalisation over channels takes its statistics of those that stay, so that these
have other values after the cut; and what follows a block that went away lacks what it
added. A layer that reads channels with a kernel is taken to give what it gave before:
it is repaired to do so. (To let it give what it gives with its new weights, and to
repair what follows to that, led further away in vision transformers.)
"""

import itertools

import keras
from keras import ops

from tf_lossprune.gates import GatedCall, GatedLayer
from tf_lossprune.graph.constants import dead_values
from tf_lossprune.training.network import packed


class Changes:
    """Follows tensors whose kept channels have other values after a cut.

    Args:
        channel_graph: `ChannelGraph`.
        keep: bool `[num_units + 1]`, the units that stay.
        left: names of layers that are not repaired.

    Attributes:
        tensors: set of the ids of these tensors.
        scales: dict, `id(layer)` -> `(factor, offset)`: arrays by which a normalisation
            makes up for its other statistics.
    """

    def __init__(self, channel_graph, keep, left=()):
        self._channels, self._keep = channel_graph, keep
        self._dead = dead_values(channel_graph, keep)
        self._left = set(left)
        self._numbers = itertools.count()
        self.scales = {}
        self.tensors = self._find()

    def _find(self):
        found = set(self._dead)
        for call in self._channels.graph.calls:
            reads = any(id(t) in found for t in call.inputs)
            loses = self._loses(call) or reads
            if self.mixes(call) or (loses and not self._as_before(call)):
                found.update(id(t) for t in call.outputs)
        return found

    def mixes(self, call):
        """Whether it takes statistics of channels some of which are cut."""
        found = self._channels.gated_call(call)
        return found is not None and not self._keep[found[0]].all()

    def _gates(self, call):
        return self._channels.gated(call.operation) if call.is_layer else {}

    def _as_before(self, call):
        """Whether it is taken to give what it gave before."""
        return bool(self._gates(call)) and call.operation.name not in self._left

    def _loses(self, call):
        units = [u for axes in self._gates(call).values() for u in axes.values()]
        return any(not self._keep[u].all() for u in units)

    def follow(self, call, fill, outputs):
        """What a call puts out after the cut, as far as that is something else.

        Args:
            call: `Call`.
            fill: function from a structure with `Tensor`s to one with Keras tensors,
                those after the cut where there are any.
            outputs: list of what it put out before.

        Returns:
            List of Keras tensors; None: nothing else.
        """
        if id(call.outputs[0]) not in self.tensors:
            return None
        name = f"after_the_cut_{next(self._numbers)}"
        if id(call.outputs[0]) in self._dead:
            pairs = zip(call.outputs, outputs, strict=True)
            return [_Affine(0.0, self._dead[id(t)], name=name)(y) for t, y in pairs]
        args, kwargs = fill(call.args), fill(call.kwargs)
        operation = call.operation
        if self.mixes(call):
            units, computation = self._channels.gated_call(call)
            gated = GatedCall(operation, computation, units, name=name)
        elif self._gates(call):
            gated = GatedLayer(operation, self._gates(call), name=name)
        else:
            return operation(*args, **kwargs)
        gates = ops.convert_to_tensor(self._keep.astype("float32"))
        found = gated(args[0], gates, *args[1:], **packed(kwargs))
        if id(operation) in self.scales:
            factor, offset = self.scales[id(operation)]
            found = _Affine(factor, offset, name=f"{name}_scaled")(found)
        return found


class _Affine(keras.layers.Layer):
    """`factor * x + offset`."""

    def __init__(self, factor, offset, **kwargs):
        super().__init__(**kwargs)
        self._factor, self._offset = factor, offset
        self.supports_masking = self.built = True

    def call(self, x):
        return x * ops.cast(self._factor, x.dtype) + ops.cast(self._offset, x.dtype)
