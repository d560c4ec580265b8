"""What a layer's rule sees and what it may say about its channels."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.counting import Counting
from tf_lossprune.graph.labels import Ties
from tf_lossprune.graph.record import LayerRecord
from tf_lossprune.graph.tracing import Call, Tensor


def _count(kept: np.ndarray) -> int:
    return int(kept.sum())


class Context(Counting):
    """One call of a layer or operation, as its rule sees it.

    Args:
        call: `Call`.
        input_labels: list of label arrays, one for each of `call.data`.
        ties: `Ties`.
        record: `LayerRecord` of the layer or operation, shared by its calls.
        freeze_log: list, `(labels, layer name, reason)` entries are added.
        uniform: set, the ids of tensors in which all channels are the same.
        hidden: dict, id of a tensor -> labels along its last axis, besides those of the
            channels along another one; see `hidden_units`.

    Attributes:
        frozen: string or None, why nothing passes, if the rule said so.
        counted: bool, whether the rule declared multiplications.
    """

    def __init__(
        self,
        call: Call,
        input_labels: list[np.ndarray],
        ties: Ties,
        record: LayerRecord,
        freeze_log: list,
        uniform: set[int],
        hidden: dict[int, np.ndarray],
    ):
        super().__init__(call)
        self.layer = call.operation
        self.input_labels = input_labels
        self.output_labels: Any = None
        self.frozen: str | None = None
        self.counted = False
        self._ties = ties
        self._record = record
        self._freeze_log = freeze_log
        self._uniform = uniform
        self._hidden = hidden
        self._reads_hidden = False

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors that the layer computes with; masks are not among them."""
        return self.call.data

    @property
    def masks(self) -> list[Tensor]:
        """The tensors that say which steps count. Their own channels stay."""
        return self.call.masks

    def uniform(self, index: int = 0) -> bool:
        """Whether an input holds the same values however many channels it has.

        So does what does not depend on the channels that can be cut, as the masks
        that Keras spreads over them.
        """
        labels = self.input_labels[index]
        return id(self.inputs[index]) in self._uniform or not labels.any()

    def varies(self, axis: int, index: int = 0) -> bool:
        """Whether the labels of an input vary along an axis of its sample."""
        return self.input_labels[index].shape[axis] > 1

    def batch_axis(self, index: int = 0) -> int | None:
        """Where the batch dimension of an input is; None: it has none."""
        return self.inputs[index].batch_axis

    def sample_axis(self, axis: int, index: int = 0) -> int | None:
        """An axis of a whole batch as one of a sample; None for the batch's own."""
        axis = axis % len(self.inputs[index].shape)
        batch = self.batch_axis(index)
        if axis == batch:
            return None
        return axis if batch is None or axis < batch else axis - 1

    def labels_with_batch(self, index: int = 0) -> np.ndarray:
        """The labels of an input with an axis of size 1 for the batch dimension."""
        batch, labels = self.batch_axis(index), self.input_labels[index]
        return labels if batch is None else np.expand_dims(labels, batch)

    def output_with_batch(
        self, labels: np.ndarray, batch_axis: int | None, **kwargs: Any
    ) -> None:
        """The inverse: sets the labels of the only output.

        Args:
            labels: array that has an axis of size 1 for the batch dimension.
            batch_axis: int or None, which one.
            **kwargs: as in `output`.
        """
        if batch_axis is not None:
            labels = np.squeeze(labels, batch_axis)
        self.output(labels, batch_axis=batch_axis, **kwargs)

    def hidden_units(self) -> np.ndarray | None:
        """What a layer that mixes positions made, `[size]` along the input's last axis.

        Whoever asks says that it reads them with a kernel, or each for itself.
        """
        self._reads_hidden = True
        return self._hidden.get(id(self.inputs[0]))

    def make_hidden(self, labels: np.ndarray) -> None:
        """Says that the output has such units."""
        self._hidden[id(self.call.outputs[0])] = labels

    def freeze_hidden(self) -> None:
        """Freezes such units of the inputs if they were not asked for."""
        for tensor in () if self._reads_hidden else self.inputs:
            units = self._hidden.get(id(tensor), np.zeros(0, int))
            self.freeze(units, "the positions are counted on")

    def carry(self, uniform: bool = False, each: bool = False) -> None:
        """Says that the outputs have the labels and the layout of the first input.

        Args:
            uniform: as in `output`.
            each: bool, whether each element is computed from its own one alone.
        """
        if each and (found := self.hidden_units()) is not None:
            self.make_hidden(found)
        self.output(
            *[self.input_labels[0] for _ in self.call.outputs],
            batch_axis=self.batch_axis(),
            uniform=uniform,
        )

    def tie(
        self,
        labels: np.ndarray,
        axes: Iterable[int],
        reason: str = "these channels are cut together",
    ) -> np.ndarray:
        """Ties labels along some axes, along which they then no longer vary.

        Args:
            labels: array.
            axes: iterable of its axes.
            reason: string, why channels stay that are tied to such as stay.

        Returns:
            The array, of size 1 along these axes.
        """
        for axis in axes:
            first = labels.take([0], axis=axis)
            if labels.shape[axis] > 1:
                stays = (labels == lb.FROZEN).any(axis=axis, keepdims=True)
                if stays.any():
                    self.freeze(np.where(stays, labels, lb.FROZEN), reason)
                self.unite(first, labels)
                first = np.where(stays, lb.FROZEN, first)
            labels = first
        return labels

    def straighten(self, index: int) -> None:
        """Ties the channels of an input until they lie along one axis."""
        labels = self.input_labels[index]
        if len(lb.varying(labels)) > 1:
            main = lb.main_axis(labels)
            self.input_labels[index] = self.tie(labels, {*range(labels.ndim)} - {main})

    def settle(self) -> bool:
        """Makes all inputs what rules expect that do not take any layout.

        Returns:
            Bool, whether that could be done.
        """
        for index, labels in enumerate(self.input_labels):
            if self.batch_axis(index) is None and not labels.any():
                self.inputs[index].batch_axis = 0  # which makes no difference
                ndim = max(labels.ndim - 1, 0)
                self.input_labels[index] = np.zeros((1,) * ndim, int)
            elif self.batch_axis(index) != 0:
                return False
            self.straighten(index)
        return True

    def channels(self, index: int = 0, axis: int = -1) -> np.ndarray | None:
        """The labels `[size]` of an input along one axis of its sample.

        Returns None, and freezes the input, if they vary along other axes too.
        """
        shape = self.inputs[index].sample_shape
        found = lb.along(self.input_labels[index], axis, shape[axis])
        if found is None:
            self.freeze_input(index, "its channels are not laid out along one axis")
        return found

    def fresh(self, size: int) -> np.ndarray:
        """New labels `[size]` for channels that this layer produces."""
        return self._ties.fresh(size, self.layer.name)

    def unite(self, a: ArrayLike, b: ArrayLike) -> None:
        """Says that channels can only be removed together, elementwise."""
        self._ties.unite(np.asarray(a), np.asarray(b))

    def unite_either(self, first: tuple, second: tuple) -> None:
        """Says that channels can only be removed together in one way or another.

        All layers that leave this open are decided alike: so that the narrowest
        network possible is narrower.

        Args:
            first, second: pairs of label arrays, as the arguments of `unite`.
        """
        self._ties.unite_either(first, second)

    def separate(self, labels: np.ndarray) -> None:
        """Says that at least one of these labels must stay, if any can go."""
        self._ties.separate(labels)

    def freeze(self, labels: np.ndarray, reason: str) -> None:
        """Says that channels must stay, and why."""
        labels = np.unique(labels)
        labels = labels[labels != lb.FROZEN]
        if labels.size:
            self._ties.freeze(labels)
            self._freeze_log.append((labels, self.layer.name, reason))

    def freeze_input(self, index: int, reason: str) -> None:
        self.freeze(self.input_labels[index], reason)

    def freeze_all(self, reason: str) -> None:
        """Freezes all inputs; the outputs are kept too."""
        self.frozen = reason
        for index in range(len(self.input_labels)):
            self.freeze_input(index, reason)
        self.output(*[np.zeros((), int) for _ in self.call.outputs])

    def weight(self, name: str, axes: dict, positions: float = 0) -> None:
        """Declares what the axes of a weight stand for.

        Args:
            name: string, attribute of the layer; `"cell.kernel"` for a weight of a
                layer inside it.
            axes: dict, axis -> labels `[size]`. Surgery keeps the entries whose unit
                is kept. Or a tuple of axes -> array of labels with an axis for each of
                them, along one of which they will vary in the end.
            positions: int, multiplications per sample with each entry (the
                output positions of a convolution); 0 for biases and the like.
        """
        declared = self._record.weights.setdefault(name, {})
        for axis, labels in axes.items():
            if axis in declared:  # a shared layer: its calls must agree
                self.unite(declared[axis], labels)
            else:
                declared[axis] = np.asarray(labels)
        self.counted |= bool(positions)
        total = self._record.positions.get(name, 0) + positions
        self._record.positions[name] = total

    def gate(self, name: str, axis: int, inside: bool = False) -> None:
        """Declares that zeroing slices of a weight removes channels.

        Args:
            name: string, the weight.
            axis: int, as in `weight`; there may be several of one weight.
            inside: bool, whether it makes these channels, which only the layer itself
                reads; else it reads them.
        """
        table = self._record.inner_gates if inside else self._record.gates
        axes = table.setdefault(name, [])
        if axis not in axes:
            axes.append(axis)

    def factor(
        self, name: str, labels: np.ndarray, value: Callable[[np.ndarray], Any]
    ) -> None:
        """Declares a factor that what is left of a weight gets at the cut.

        Args:
            name: string, the weight.
            labels: array of labels.
            value: function from which of them are kept to the factor.
        """
        self._record.factors[name] = (np.asarray(labels), value)

    def gated_call(
        self, computation: Callable, labels: np.ndarray | None = None
    ) -> None:
        """Declares that this call mixes channels, and how to leave some of them out.

        For calls without a kernel to gate: statistics over channels, sums over them,
        products of two activations. While the model is gated, the computation takes
        the call's place; the compact model makes the call itself.

        Args:
            computation: function `(operation, gates, *args, **kwargs)` of the layer or
                operation, a float32 tensor with a gate for each of the labels, and
                the call's arguments. With gates of 1 it computes what the call does;
                with gates of 0 and 1, in the channels that stay, what the call does on
                these alone. What it puts out for others is not read, and must be
                finite. It is differentiable with respect to the gates.
                `graph/gated_calls.py` has those of stock layers; where gated models
                are saved, `keras.saving.register_keras_serializable` makes it known.
            labels: array of labels, broadcastable to the whole of one of the call's
                arguments, with an axis of size 1 for the batch; None: those of the
                first input.
        """
        labels = self.labels_with_batch() if labels is None else np.asarray(labels)
        self._record.gated_calls[id(self.call)] = (labels, computation)

    def constant_without(self, labels: ArrayLike) -> None:
        """Says that without all of these channels, inside, the outputs are constant."""
        table = self._record.constant_without
        table.setdefault(id(self.call), []).append(np.asarray(labels))

    def config(
        self,
        key: str,
        labels: ArrayLike,
        value: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        """Declares a config entry that depends on which channels are kept.

        Args:
            key: string, the entry (`"filters"`).
            labels: labels `[size]`.
            value: function from which of them are kept, bool `[size]`, to the
                entry's value. Without it: their number.
        """
        labels = np.asarray(labels)
        if key in self._record.config:  # a shared layer: its calls must agree
            self.unite(self._record.config[key][0], labels)
        else:
            self._record.config[key] = (labels, value or _count)

    def arguments(
        self, labels: ArrayLike, function: Callable[[list, np.ndarray], list]
    ) -> None:
        """Declares positional arguments that depend on which channels are kept.

        Args:
            labels: array of labels.
            function: from the list of positional arguments and which labels are
                kept, a bool array, to the list for the compact model.
        """
        self._record.arguments[id(self.call)] = (np.asarray(labels), function)

    def products(self, number: float, *factors: ArrayLike) -> None:
        """Declares multiplications without a weight.

        Args:
            number: how many for each combination of one label of every factor.
            *factors: label arrays, of any shape.
        """
        self.counted = True
        self._record.products.append((number, tuple(map(np.asarray, factors))))

    def tensors_inside(self, elements: float, labels: ArrayLike) -> None:
        """Declares tensors that only live inside the layer: memory, no operations.

        Args:
            elements: number, how many each label has at the fullest moment.
            labels: array of labels.
        """
        self._record.inside[id(self.call)] = (elements, np.asarray(labels))

    def output(
        self, *labels: ArrayLike, uniform: bool = False, batch_axis: int | None = 0
    ) -> None:
        """Sets the labels of the outputs; each broadcastable to its shape.

        Args:
            *labels: array for each output.
            uniform: bool, whether they hold the same values in all channels that
                can be cut.
            batch_axis: int, where the batch dimension of the outputs is; None: they
                have none, as weights, and their labels are for all axes.
        """
        if uniform:
            self._uniform.update(id(tensor) for tensor in self.call.outputs)
        outputs = []
        for tensor, value in zip(self.call.outputs, labels, strict=True):
            tensor.batch_axis = batch_axis
            value = np.asarray(value)
            ndim = len(tensor.sample_shape)
            value = value.reshape((1,) * (ndim - value.ndim) + value.shape)
            outputs.append(lb.compact(value))
        self.output_labels = outputs
