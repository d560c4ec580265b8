"""The weights with which a network's outputs are nearest to what they were."""

import keras
import numpy as np
from keras import ops, tree

from tf_lossprune.cut_variables import cut_variables
from tf_lossprune.training.closeness import Closeness
from tf_lossprune.training.moments import tensors_of
from tf_lossprune.training.program import as_program
from tf_lossprune.training.statistics import moving, reestimate_statistics
from tf_lossprune.values import numpy_of


class Nearest:
    """A compact model, and its weights that bring it nearest to the dense one.

    Args:
        channel_graph: `ChannelGraph` of the dense network.
        compact: the model that was cut from it.
        inputs: list of batches, as `some_inputs` returns it.
        trained: compiled `keras.Model` or None, as in `Closeness`.
    """

    def __init__(self, channel_graph, compact, inputs, trained=None):
        given, seen, _ = tensors_of(channel_graph)
        outputs = tree.flatten(channel_graph.graph.outputs)
        self._compact, self._inputs = compact, inputs
        self._closeness = Closeness(compact, trained)
        self._pieces = cut_variables(channel_graph, compact)
        self._wanted = self._outputs(keras.Model(given, [seen[id(t)] for t in outputs]))
        self._best = self.distance(), self._weights()

    def takes(self, values):
        """Sets new weights.

        Args:
            values: dict, id of a variable from before the cut -> the variable and its
                new value, of the size from before the cut.

        Returns:
            Bool, whether they are the best so far.
        """
        for piece in self._pieces:
            if id(piece.source) in values:
                value = piece.factor * piece.cut(values[id(piece.source)][1])
                piece.target.assign(ops.cast(value, piece.target.dtype))
        distance = self.distance()
        nearer = distance < self._best[0]
        if nearer:
            self._best = distance, self._weights()
        return nearer

    def restore(self):
        """Sets the best weights again."""
        for piece, value in zip(self._pieces, self._best[1], strict=True):
            piece.target.assign(value)

    def _weights(self):
        return [ops.copy(piece.target.value) for piece in self._pieces]

    def distance(self):
        """How far the outputs are from the dense ones, as `Closeness` says.

        Batch normalisations have statistics of these inputs meanwhile.

        Returns:
            A float; infinity if an output is not finite.
        """
        statistics = moving(self._compact)
        before = [numpy_of(variable) for variable in statistics]
        reestimate_statistics(self._compact, self._inputs, len(self._inputs))
        distance = self._closeness(self._wanted, self._outputs(self._compact))
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        return distance

    def _outputs(self, model):
        """List of arrays, one for each output."""
        program = as_program(lambda x: model(x, training=False), model, often=True)
        found = [tree.flatten(program(x)) for (x,) in self._inputs]
        return [
            np.concatenate(
                [ops.convert_to_numpy(ops.cast(y, "float32")) for y in parts]
            )
            for parts in zip(*found)
        ]
