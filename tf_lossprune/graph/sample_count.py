"""How many samples there are, while a call is noted on symbolic tensors.

Code reads `ops.shape(x)[0]` and hands it on. Here it reads a number that is told from
all others, and each call is noted with two of them: what it makes of the number shows
up in the comparison. In what an operation gets, it is replaced by -1 or by a layer that
asks for it again.
"""

import math

import keras
from keras import ops

from tf_lossprune import keras_internals as internals

#: Prime numbers, so that nothing else is a multiple of them by chance.
NUMBERS = (1009, 1013)

#: Operations of several tensors, of which those with fewer entries are broadcast.
BROADCASTING = {
    "Add", "Divide", "Equal", "Greater", "GreaterEqual", "Less", "LessEqual",
    "LogicalAnd", "LogicalOr", "Maximum", "Minimum", "Multiply", "NotEqual", "Power",
    "Subtract", "TrueDivide", "Where",
}  # fmt: skip


@keras.saving.register_keras_serializable(package="tf_lossprune")
class ForEachSample(keras.layers.Layer):
    """Repeats a tensor without samples, such as a class token, for each sample.

    Args:
        times: int, how often for each, where windows are folded into the batch.
    """

    def __init__(self, times=1, **kwargs):
        super().__init__(**kwargs)
        self.times = times
        self._convert_input_args = False
        self.built = True

    def call(self, x, samples):
        count = ops.shape(samples)[0] * self.times
        return ops.broadcast_to(x, (count, *x.shape[1:]))

    def compute_output_spec(self, x, samples):
        count = samples.shape[0] and samples.shape[0] * self.times
        return keras.KerasTensor((count, *x.shape[1:]), x.dtype)

    def get_config(self):
        return {**super().get_config(), "times": self.times}


class SampleCount:
    """Stands for the number of samples.

    Args:
        number: int.
        refuse: function that is told why a call cannot be noted.
    """

    def __init__(self, number, refuse):
        self.number = number
        self._refuse = refuse
        self._rows = {}  # id of a tensor -> how many rows its first axis has

    def shape(self, tensor):
        """The shape that code is told."""
        shape = tuple(tensor.shape)
        if shape and shape[0] is None:
            return (self._rows_of(tensor), *shape[1:])
        return shape

    def settle(self, operation, args, outputs):
        """Takes the number out of what an operation got and what came out of it.

        Args:
            operation: `keras.Operation`.
            args: tuple.
            outputs: list of Keras tensors, whose shapes may be changed.

        Returns:
            The operation and the args to note instead.
        """
        name = type(operation).__name__
        if internals.is_stock_operation(type(operation)):
            if name == "Reshape":
                operation = self._reshape(operation, args[0], outputs[0])
            elif name in ("BroadcastTo", "Tile", "Repeat"):
                found = self._repeated(operation, name, args[0], outputs[0])
                operation, args = found or (operation, args)
        batched = [
            x
            for x in keras.tree.flatten(args)
            if isinstance(x, keras.KerasTensor) and x.shape and x.shape[0] is None
        ]
        for t in outputs:
            if not isinstance(t, keras.KerasTensor) or not t.shape:
                continue
            if self._counts(t.shape[0]):
                self._rows[id(t)] = t.shape[0]
                internals.set_shape(t, (None, *t.shape[1:]))
            elif t.shape[0] is None and id(t) not in self._rows and batched:
                self._rows[id(t)] = self._rows_of(batched[0])
        return operation, args

    def one_of_all(self, x):
        """Numbers that are the same for each sample, for one of them.

        Returns:
            An array and the `ForEachSample` that repeats it; None: `x` is something
            else.
        """
        given = isinstance(x, (keras.KerasTensor, keras.Variable))
        shape = () if given else tuple(getattr(x, "shape", ()))
        if not shape or not self._counts(shape[0]):
            return None
        value = ops.convert_to_numpy(x)
        if not (value == value[:1]).all():
            return None
        return value[:1], ForEachSample(shape[0] // self.number)

    def same(self, tensor, other):
        """Says that a tensor has as many samples as another one; returns it."""
        if id(other) in self._rows:
            self._rows[id(tensor)] = self._rows[id(other)]
        return tensor

    def _rows_of(self, tensor):
        return self._rows.get(id(tensor), self.number)

    def _counts(self, size):
        return isinstance(size, int) and size > 0 and size % self.number == 0

    def _reshape(self, operation, x, output):
        """The operation, with -1 for the number of samples."""
        asked = operation.newshape
        asked = [asked] if isinstance(asked, int) else list(asked)
        if any(not isinstance(size, int) for size in asked):
            return operation  # refused elsewhere
        sizes = self.shape(x)
        rest = [size for size in asked if size != -1]
        if None not in sizes and len(rest) == len(asked) - 1 and math.prod(rest):
            asked[asked.index(-1)] = math.prod(sizes) // math.prod(rest)
        marked = [i for i, size in enumerate(asked) if self._counts(size)]
        if not marked:
            return operation
        if len(marked) > 1 or -1 in asked:
            self._refuse("it reshapes what has unknown sizes")
        (place,) = marked
        newshape = tuple(-1 if i == place else s for i, s in enumerate(asked))
        known = tuple(None if i in marked else s for i, s in enumerate(asked))
        internals.set_shape(output, known)
        if place == 0:
            self._rows[id(output)] = asked[0]
        # Anew, as its config is what it was made with.
        return type(operation)(newshape, name=operation.name)

    def _repeated(self, operation, name, x, output):
        """`ForEachSample` for what repeats a tensor along the samples, or None."""
        rank = len(output.shape)
        before = (1,) * (rank - len(x.shape)) + tuple(x.shape)
        times = output.shape[0] if rank else None
        if not self._counts(times) or before[0] not in (1, None):
            return None
        if name == "Repeat" and (operation.axis is None or operation.axis % rank):
            return None
        wanted = output.shape[1:]
        if before[0] is None:
            if name != "BroadcastTo" or self._rows_of(x) != times:
                return None
            return self._along_the_rest(operation, x, before[1:], wanted)
        if before[1:] != wanted:
            if name == "BroadcastTo":
                x = ops.broadcast_to(x, (1, *wanted))
            else:
                repeats = list(operation.repeats)
                x = ops.tile(x, [1, *repeats[-rank + 1 :]] if rank > 1 else [1])
        else:
            for _ in range(rank - len(x.shape)):
                x = ops.expand_dims(x, 0)
        return ForEachSample(times // self.number), (x,)

    def _along_the_rest(self, operation, x, before, wanted):
        """A broadcast of what has samples already."""
        if len(x.shape) != len(wanted) + 1 or None in before:
            return None
        repeats = [b if a == 1 else 1 for a, b in zip(before, wanted)]
        tile = internals.operation_class("Tile")
        return tile([1, *repeats]), (x,)
