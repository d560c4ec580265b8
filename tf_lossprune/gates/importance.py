"""Importance: the order in which the channels of a group go."""

import keras
import numpy as np
from keras import ops

from tf_lossprune.config import Configurable
from tf_lossprune.graph.context import find_weight

KINDS = ("group_l2", "l1", "bn_scale", "taylor")


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Importance(Configurable):
    """How important a channel unit is inside its group.

    Each layer's scores are divided by their mean before they are added up, so
    that no member of a group drowns the others.

    Args:
        kind: string.
            `"group_l2"`: L2 norm over all coupled kernels, the slices of the
            consumers included (DepGraph: Fang et al., CVPR 2023, arXiv
            2301.12900).
            `"l1"`: L1 norm of the producers' kernels (Li et al., ICLR 2017,
            arXiv 1608.08710).
            `"bn_scale"`: `|gamma|` of the batch normalisations (network
            slimming: Liu et al., ICCV 2017, arXiv 1708.06519); groups without
            one use `"group_l2"`.
            `"taylor"`: the running mean of `|gate * dL/dgate|`, which is the
            sum of gradient x weight over the gated kernels (Molchanov et al.,
            CVPR 2019, arXiv 1906.10771); before training it is `"group_l2"`.
        members: string. `"all"`: every layer of a group counts; `"first"` or
            `"last"`: of a group with several producers (a residual stage), only
            the first or the last one and its normalisation.
        interval: int >= 1, training steps between two refreshes.
    """

    def __init__(
        self, kind: str = "group_l2", members: str = "all", interval: int = 16
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"Expected one of {KINDS}. Received: kind={kind!r}")
        if members not in ("all", "first", "last"):
            raise ValueError(
                f"Expected 'all', 'first' or 'last'. Received: members={members!r}"
            )
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(
                f"Expected a whole number of steps, at least 1. "
                f"Received: interval={interval!r}"
            )
        self.kind = kind
        self.members = members
        self.interval = interval

    def get_config(self):
        return {
            "kind": self.kind,
            "members": self.members,
            "interval": self.interval,
        }

    def bind(self, channels):
        """Returns a function without arguments that scores the current weights.

        Args:
            channels: `ChannelGraph`.

        Returns:
            Function -> float tensor `[num_units + 1]`, at least 0, with mean 1
            over each group.
        """
        slices = [
            s
            for s in weight_slices(channels)
            if self._counts(channels, s) and s.units.any()
        ]
        kind = "group_l2" if self.kind == "taylor" else self.kind
        fallback = None
        if kind == "bn_scale":
            chosen = [s for s in slices if s.role == "scale"]
            covered = np.zeros(channels.num_units + 1, bool)
            for s in chosen:
                covered[s.units] = True
            if not covered[1:].all():
                fallback = Importance("group_l2", self.members).bind(channels)
            power = 1
        elif kind == "l1":
            chosen, power = [s for s in slices if s.role == "producer"], 1
        else:
            chosen = [s for s in slices if s.role in ("producer", "consumer")]
            power = 2
        total = channels.num_units + 1

        def score():
            scores = ops.zeros((total,), "float32")
            for s in chosen:
                scores = scores + s.score(power, total)
            if power == 2:
                scores = ops.sqrt(scores)
            if fallback is not None:
                scores = ops.where(covered, scores, fallback())
            return normalize(scores, channels)

        return score

    def _counts(self, channels, piece):
        """Whether a slice counts under `members`."""
        if self.members == "all" or piece.role == "consumer":
            return True
        group = channels.groups[channels.group_of[piece.units].max()]
        if len(group.producers) < 2:
            return True
        place = 0 if self.members == "first" else -1
        if piece.role == "producer":
            return piece.layer.name == group.producers[place]
        return bool(group.through) and piece.layer.name == group.through[place]


class WeightSlices:
    """One axis of one weight, seen as slices that belong to channel units.

    Args:
        layer: the layer.
        weight: string, attribute of the layer.
        axis: int.
        units: int `[size]`, the unit of each slice.
        role: `"producer"`, `"consumer"`, `"scale"` or `"other"`.
    """

    def __init__(self, layer, weight, axis, units, role):
        self.layer, self.weight, self.axis = layer, weight, axis
        self.units, self.role = units, role

    @property
    def variable(self):
        """The weight."""
        return find_weight(self.layer, self.weight)

    def along_axis(self, value):
        """Shapes per-slice values `[size]` so that they multiply the weight."""
        shape = [1] * len(self.variable.shape)
        shape[self.axis] = -1
        return ops.reshape(value, shape)

    def sums(self, power, value=None):
        """`[size]`: each slice's sum of |w|**power; carries gradients.

        Args:
            power: 1 or 2.
            value: tensor in the weight's place, or None.
        """
        value = ops.cast(self.variable.value if value is None else value, "float32")
        others = [a for a in range(len(value.shape)) if a != self.axis]
        size = ops.abs(value) if power == 1 else ops.square(value)
        return ops.sum(size, axis=others) if others else size

    def by_unit(self, values, total):
        """Adds per-slice values `[size]` up per unit, `[total]`."""
        return ops.segment_sum(values, self.units.astype("int32"), total)

    def score(self, power, total):
        """`[total]`: per unit the sum of |w|**power, over the mean slice."""
        sums = ops.stop_gradient(self.sums(power))
        return self.by_unit(sums / (ops.mean(sums) + 1e-12), total)


def weight_slices(channels):
    """Lists the `WeightSlices` of all weights that the rules declared."""
    found = []
    for record in channels.records.values():
        for name, axes in record.weights.items():
            for axis, units in axes.items():
                if name == "gamma":
                    role = "scale"
                elif record.gates.get(name) == axis:
                    role = "consumer"
                elif len(record.weight(name).shape) > 1:
                    role = "producer"
                else:
                    role = "other"
                found.append(WeightSlices(record.layer, name, axis, units, role))
    return found


def normalize(scores, channels):
    """Divides scores `[num_units + 1]` by their group's mean."""
    group_of = np.maximum(channels.group_of, 0).astype("int32")
    sizes = np.array([g.size for g in channels.groups], "float32")
    member = (channels.group_of >= 0).astype("float32")
    sums = ops.segment_sum(scores * member, group_of, len(sizes))
    means = sums / sizes
    return scores / (ops.take(means, group_of) + 1e-12)
