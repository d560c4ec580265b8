"""What a model was compiled with, output by output."""

import dataclasses
import functools
from collections.abc import Callable

from keras import ops, tree

from tf_lossprune import keras_internals as internals


@dataclasses.dataclass(frozen=True)
class OutputLoss:
    """The loss of one output.

    Attributes:
        index: int, position among the flat outputs.
        path: tuple of keys, where the output is in the model's structure.
        name: string, the name of Keras' function, else an empty string.
        options: dict of that function's options, such as `from_logits`.
        weight: float.
        function: the loss object, from targets and outputs to a scalar.
        alone: bool, whether the model has no other output. Its targets may then come
            bare or in a list or dict, whatever the output comes in.
    """

    index: int
    path: tuple
    name: str
    options: dict
    weight: float
    function: Callable
    alone: bool = False

    @property
    def from_logits(self):
        """Whether the loss takes logits; Keras' CTC takes nothing else."""
        return bool(self.options.get("from_logits", self.name == "ctc"))

    def of(self, values):
        """The output's part of what has the outputs' structure, such as targets.

        Returns None where the structures differ.
        """
        leaves = tree.flatten(values)
        if self.alone and len(leaves) == 1:
            return leaves[0]
        for key in self.path:
            if not tree.is_nested(values):
                return None  # of a tensor the key would be a sample
            try:
                values = values[key]
            except (KeyError, IndexError, TypeError):
                return None
        return None if tree.is_nested(values) else values


def compiled_losses(model):
    """The losses of a compiled model's outputs, as a list of `OutputLoss`.

    Keras pairs outputs and losses, in whatever structure, when it builds its loss;
    what it has found is read there, so that both agree.

    Args:
        model: compiled `keras.Model` whose loss is built.
    """
    structure, parts = internals.loss_parts(model)
    count = len(tree.flatten(structure))
    positions = tree.pack_sequence_as(structure, list(range(count)))
    found = []
    for path, loss, weight, _ in parts:
        name, options = _function(loss)
        weight = 1.0 if weight is None else float(weight)
        place = positions
        for key in path:
            place = place[key]
        # A loss of several outputs together is counted for each of them.
        found += [
            OutputLoss(index, tuple(path), name, options, weight, loss, count == 1)
            for index in tree.flatten(place)
        ]
    return found


def task_loss(losses, y, y_pred, sample_weight=None):
    """The loss of some outputs as a float32 scalar; no metric takes notice.

    Args:
        losses: list of `OutputLoss`.
        y, y_pred: targets and outputs, in the model's structure.
        sample_weight: in that structure, or one for all; None: all count once.
    """
    total, outputs = 0.0, tree.flatten(y_pred)
    for loss in losses:
        target = loss.of(y)
        if target is not None:
            one = not tree.is_nested(sample_weight)
            weight = sample_weight if one else loss.of(sample_weight)
            value = loss.function(target, outputs[loss.index], weight)
            total = total + loss.weight * ops.cast(ops.mean(value), "float32")
    return total


def _function(loss):
    """Name and options of Keras' loss function that a loss object calls."""
    function = getattr(loss, "fn", None)
    options = internals.loss_function_options(loss)
    while isinstance(function, functools.partial):
        options = {**function.keywords, **options}
        function = function.func
    module = getattr(function, "__module__", None) or ""
    ours = module.split(".")[0] == "keras"
    return (getattr(function, "__name__", "") if ours else ""), options
