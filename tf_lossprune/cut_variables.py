"""What became of each weight when a compact model was cut out of another one."""

import dataclasses
import weakref

import keras
import numpy as np

#: Compact model -> (which units it keeps, pairs of layers before and after).
_CUTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, eq=False)
class CutVariable:
    """A weight before and after the cut.

    Attributes:
        source: `keras.Variable` of the model with all channels.
        target: `keras.Variable` of the compact model.
        axes: dict, axis -> bool array, which of its entries stay; others stay whole.
        factor: float, what the entries that stay were multiplied with.
    """

    source: keras.Variable
    target: keras.Variable
    axes: dict
    factor: float = 1.0

    def cut(self, value: np.ndarray, axes: tuple | None = None) -> np.ndarray:
        """Cuts what belongs to the weight as the weight was.

        Args:
            value: array.
            axes: for each axis of the array the axis of the weight that it stands for;
                None: the same ones.
        """
        for place, axis in enumerate(range(value.ndim) if axes is None else axes):
            if axis in self.axes:
                value = value.compress(self.axes[axis], axis=place)
        return value


def remember_cut(model, keep, layers):
    """Notes from which layers a compact model was made.

    Args:
        model: the compact `keras.Model`.
        keep: bool `[num_units + 1]`.
        layers: pairs of operations, before and after.
    """
    # Neither of the two models keeps the other one alive.
    pairs = [
        (weakref.ref(source), weakref.ref(target))
        for source, target in layers
        if isinstance(source, keras.Layer) and source.weights
    ]
    _CUTS[model] = np.array(keep), pairs


def cut_variables(channels, model) -> list[CutVariable]:
    """Lists what became of each weight.

    Args:
        channels: `ChannelGraph` that the model was cut from.
        model: the compact `keras.Model`, as `cut` or `strip_pruning` returned it.

    Returns:
        A list of `CutVariable`; without the weights of layers that went away.

    Raises:
        ValueError: if it was made in another way (loaded from a file, for instance).
    """
    if model not in _CUTS:
        raise ValueError(
            "Expected a compact model as `strip_pruning` returned it in this process. "
            f"Received: {model.name!r}"
        )
    keep, pairs = _CUTS[model]
    found = []
    for source, target in ((a(), b()) for a, b in pairs):
        if source is None or target is None or id(source) not in channels.records:
            raise ValueError(
                "Expected the channels that the model was cut from, still alive. "
                f"Received: others, for {model.name!r}"
            )
        record = channels.record(source)
        declared = {id(record.weight(n)): axes for n, axes in record.weights.items()}
        factors = {
            id(record.weight(n)): function(keep[units])
            for n, (units, function) in record.factors.items()
        }
        for before, after in zip(source.weights, target.weights, strict=True):
            axes = {
                axis: keep[units]
                for axis, units in declared.get(id(before), {}).items()
                if not keep[units].all()
            }
            factor = factors.get(id(before), 1.0)
            found.append(CutVariable(before, after, axes, factor))
    return found
