"""What a layer's rule sees and what it may say about its channels."""

import math

import numpy as np

from tf_lossprune.graph import labels as lb


class LayerRecord:
    """All that the rules said about one layer, over all of its calls.

    Attributes:
        layer: the layer.
        weights: dict, weight name -> {axis: labels `[size]`}.
        gates: dict, weight name -> axis whose labels gate this weight.
        config: dict, config entry -> (labels, function from their kept number
            to the entry's value).
        positions: dict, weight name -> how often a sample is multiplied with
            each entry of the weight, over all calls.
    """

    def __init__(self, layer):
        self.layer = layer
        self.weights = {}
        self.gates = {}
        self.config = {}
        self.positions = {}


class Context:
    """One call of a layer or operation, as its rule sees it.

    Args:
        call: `Call`.
        input_labels: list of label arrays, one for each of `call.inputs`.
        ties: `Ties`.
        record: `LayerRecord` of the layer, shared by its calls; None for an
            operation that is not a layer.
        freeze_log: list, `(labels, layer name, reason)` entries are added.
    """

    def __init__(self, call, input_labels, ties, record, freeze_log):
        self.call = call
        self.layer = call.operation
        self.input_labels = input_labels
        self.output_labels = None
        self._ties = ties
        self._record = record
        self._freeze_log = freeze_log

    @property
    def inputs(self):
        return self.call.inputs

    def channels(self, index=0, axis=-1):
        """The labels `[size]` of an input along one axis of its sample.

        Returns None, and freezes the input, if they vary along other axes too.
        """
        shape = self.inputs[index].sample_shape
        found = lb.along(self.input_labels[index], axis, shape[axis])
        if found is None:
            self.freeze_input(index, "its channels are not laid out along one axis")
        return found

    def fresh(self, size):
        """New labels `[size]` for channels that this layer produces."""
        return self._ties.fresh(size, self.layer.name)

    def unite(self, a, b):
        """Says that channels can only be removed together, elementwise."""
        self._ties.unite(np.asarray(a), np.asarray(b))

    def freeze(self, labels, reason):
        """Says that channels must stay, and why."""
        labels = np.unique(labels)
        labels = labels[labels != lb.FROZEN]
        if labels.size:
            self._ties.freeze(labels)
            self._freeze_log.append((labels, self.layer.name, reason))

    def freeze_input(self, index, reason):
        self.freeze(self.input_labels[index], reason)

    def freeze_all(self, reason):
        """Freezes all inputs; the outputs are kept too."""
        for index in range(len(self.input_labels)):
            self.freeze_input(index, reason)
        self.output(*[np.zeros((), int) for _ in self.call.outputs])

    def weight(self, name, axes, positions=0):
        """Declares what the axes of a weight stand for.

        Args:
            name: string, attribute of the layer.
            axes: dict, axis -> labels `[size]`. Surgery keeps the entries
                whose unit is kept.
            positions: int, multiplications per sample with each entry (the
                output positions of a convolution); 0 for biases and the like.
        """
        declared = self._record.weights.setdefault(name, {})
        for axis, labels in axes.items():
            if axis in declared:  # a shared layer: its calls must agree
                self.unite(declared[axis], labels)
            else:
                declared[axis] = np.asarray(labels)
        total = self._record.positions.get(name, 0) + positions
        self._record.positions[name] = total

    def gate(self, name, axis):
        """Declares that zeroing slices of a weight removes its input channels."""
        self._record.gates[name] = axis

    def config(self, key, labels, value=int):
        """Declares a config entry that depends on the number of kept channels.

        Args:
            key: string, the entry (`"filters"`).
            labels: labels `[size]` to count.
            value: function from their kept number to the entry's value.
        """
        self._record.config.setdefault(key, (np.asarray(labels), value))

    def output(self, *labels):
        """Sets the labels of the outputs; each broadcastable to its shape."""
        outputs = []
        for tensor, value in zip(self.call.outputs, labels, strict=True):
            value = np.asarray(value)
            ndim = len(tensor.sample_shape)
            value = value.reshape((1,) * (ndim - value.ndim) + value.shape)
            outputs.append(lb.compact(value))
        self.output_labels = outputs

    def output_positions(self, axis=-1):
        """Product of the output's sizes over all axes but one.

        Raises:
            ValueError: if one of them is unknown.
        """
        sizes = list(self.call.outputs[0].sample_shape)
        del sizes[axis]
        if None in sizes:
            raise ValueError(
                "Operations can only be counted on static shapes: build the model "
                "with `keras.Input(shape=...)` without None. Received: layer "
                f"{self.layer.name!r} with output shape {self.call.outputs[0].shape}"
            )
        return math.prod(sizes)
