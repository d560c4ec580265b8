"""Weights, slice by slice: which slice of which weight belongs to which channel."""

import keras
import numpy as np
from keras import ops

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.graph.record import find_weight
from tf_lossprune.types import BackendTensor


class WeightSlices:
    """One axis of one weight, seen as slices that belong to channel units.

    Args:
        layer: the layer.
        weight: string, attribute of the layer.
        axis: int.
        units: int `[size]`, the unit of each slice.
        role: `"producer"`, `"consumer"`, `"scale"` or `"other"`.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        weight: str,
        axis: int,
        units: np.ndarray,
        role: str,
    ) -> None:
        self.layer, self.weight, self.axis = layer, weight, axis
        self.units, self.role = units, role

    @property
    def variable(self) -> keras.Variable:
        """The weight."""
        return find_weight(self.layer, self.weight)

    def along_axis(self, value: BackendTensor) -> BackendTensor:
        """Shapes per-slice values `[size]` so that they multiply the weight."""
        shape = [1] * len(self.variable.shape)
        shape[self.axis] = -1
        return ops.reshape(value, shape)

    def sums(self, power: int, value: BackendTensor | None = None) -> BackendTensor:
        """`[size]`: each slice's sum of |w|**power; carries gradients.

        Args:
            power: 1 or 2.
            value: tensor in the weight's place, or None.
        """
        value = ops.cast(self.variable.value if value is None else value, "float32")
        others = [a for a in range(len(value.shape)) if a != self.axis]
        size = ops.abs(value) if power == 1 else ops.square(value)
        return ops.sum(size, axis=others) if others else size

    def by_unit(self, values: BackendTensor, total: int) -> BackendTensor:
        """Adds per-slice values `[size]` up per unit, `[total]`."""
        return ops.segment_sum(values, self.units.astype("int32"), total)

    def score(self, power: int, total: int) -> BackendTensor:
        """`[total]`: per unit the sum of |w|**power, over the mean slice."""
        sums = ops.stop_gradient(self.sums(power))
        return self.by_unit(sums / (ops.mean(sums) + 1e-12), total)


def weight_slices(channels: ChannelGraph) -> list[WeightSlices]:
    """Lists the `WeightSlices` of all weights that the rules declared."""
    found = []
    for record in channels.records.values():
        for name, axes in record.weights.items():
            for axis, units in axes.items():
                if name in ("gamma", "scale"):
                    role = "scale"
                elif axis in record.gates.get(name, ()):
                    role = "consumer"
                elif len(record.weight(name).shape) > 1:
                    role = "producer"
                else:
                    role = "other"
                found.append(WeightSlices(record.layer, name, axis, units, role))
    return found
