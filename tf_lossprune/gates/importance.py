"""Importance: the order in which the channels of a group go."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from keras import ops

from tf_lossprune.config import Configurable, check_count
from tf_lossprune.gates.saliency import MeanGradient, SaliencyEstimator
from tf_lossprune.gates.weight_slices import WeightSlices, weight_slices
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.registry import Registry
from tf_lossprune.types import BackendTensor


class Importance(Configurable):
    """How important a channel is inside its group; base class, open to your own.

    A subclass defines `score`, or `make_estimator` if it learns from gradients. The
    search divides the scores by their group's mean.

    Args:
        interval: int >= 1, training steps between two refreshes.

    Attributes:
        name: string, for `prune_model(importance=...)`.

    Example:

    ```python
    import keras
    import tf_lossprune
    from tf_lossprune import importances

    @importances.register_importance
    class ProducerL2(tf_lossprune.Importance):
        name = "producer_l2"

        def score(self, channels):
            total = channels.num_units + 1
            squares = sum(
                s.score(2, total)
                for s in importances.weight_slices(channels)
                if s.role == "producer"
            )
            return keras.ops.sqrt(squares)

    pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, importance="producer_l2")
    ```
    """

    name: str | None = None
    interval = 16

    def __init__(self, interval: int = 16) -> None:
        self.interval = check_count("interval", interval, 1)

    def get_config(self) -> dict[str, Any]:
        return {"interval": self.interval}

    def score(self, channels: ChannelGraph) -> BackendTensor:
        """Scores the channels by the weights as they are now.

        Args:
            channels: `ChannelGraph`; `channels.groups` have `units`, the places of
                their channels among the scores.

        Returns:
            Float tensor `[num_units + 1]`, at least 0. Only channels of one group are
            compared; what stands in place 0 does not matter.
        """
        raise NotImplementedError

    def make_estimator(self) -> SaliencyEstimator | None:
        """Returns a fresh `SaliencyEstimator`, or None.

        It gives the order as soon as it has seen gradients; None: `score` always does.
        """
        return None

    def __call__(self, channels: ChannelGraph) -> BackendTensor:
        """The scores `[num_units + 1]`, with mean 1 over each group."""
        scores = ops.cast(self.score(channels), "float32")
        if tuple(scores.shape) != (channels.num_units + 1,):
            raise ValueError(
                f"Expected {type(self).__name__}.score to return one number for each "
                f"channel unit, shape ({channels.num_units + 1},). "
                f"Received: shape {tuple(scores.shape)}"
            )
        return normalize(ops.stop_gradient(scores), channels)


IMPORTANCES = Registry("importance", Importance, "auto")
register_importance = IMPORTANCES.register


def check_scores(importance: Importance, channels: ChannelGraph) -> None:
    """Raises `ValueError` for an importance whose scores are below 0."""
    smallest = float(ops.min(importance(channels)[1:]))
    if smallest < 0:
        raise ValueError(
            f"Expected {type(importance).__name__}.score to return numbers of at "
            f"least 0. Received: {smallest:.3g} times a group's mean"
        )


class WeightImportance(Importance):
    """Base class of the importances that add up slices of weights.

    Each layer's scores are divided by their mean before they are added up, so
    that no member of a group drowns the others.

    Args:
        members: string. `"all"`: every layer of a group counts; `"first"` or
            `"last"`: of a group with several producers (a residual stage), only
            the first or the last one and its normalisation.
        interval: int >= 1, training steps between two refreshes.
    """

    def __init__(self, members: str = "all", interval: int = 16) -> None:
        super().__init__(interval)
        if members not in ("all", "first", "last"):
            raise ValueError(
                f"Expected 'all', 'first' or 'last'. Received: members={members!r}"
            )
        self.members = members

    def get_config(self) -> dict[str, Any]:
        return {"members": self.members, **super().get_config()}

    def slices(self, channels: ChannelGraph, *roles: str) -> list[WeightSlices]:
        """The `WeightSlices` of these roles that count under `members`."""
        return [
            s
            for s in weight_slices(channels)
            if s.role in roles and s.units.any() and self._counts(channels, s)
        ]

    def total(
        self, channels: ChannelGraph, slices: Iterable[WeightSlices], power: int
    ) -> BackendTensor:
        """`[num_units + 1]`: the sum of the slices' scores."""
        total = channels.num_units + 1
        scores = ops.zeros((total,), "float32")
        for s in slices:
            scores = scores + s.score(power, total)
        return scores

    def _counts(self, channels: ChannelGraph, piece: WeightSlices) -> bool:
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


@register_importance
class GroupL2(WeightImportance):
    """L2 norm over all coupled kernels, the slices of the consumers included.

    DepGraph: Fang et al., CVPR 2023, arXiv 2301.12900.
    """

    name = "group_l2"

    def score(self, channels: ChannelGraph) -> BackendTensor:
        slices = self.slices(channels, "producer", "consumer")
        return ops.sqrt(self.total(channels, slices, 2))


@register_importance
class Automatic(GroupL2):
    """`GroupL2`, or `Prediction` where `fit` repairs the cut.

    That is at the end of a search on frozen weights, and for widths that do not follow
    from the importance (`"uniform"`, or given ones) when training begins: channels go
    first which those that stay can predict. `Prediction` reads the training data, and
    stands back where these cannot be read a second time.
    """

    name = "auto"


@register_importance
class L1(WeightImportance):
    """L1 norm of the producers' kernels (Li et al., ICLR 2017, arXiv 1608.08710)."""

    name = "l1"

    def score(self, channels: ChannelGraph) -> BackendTensor:
        return self.total(channels, self.slices(channels, "producer"), 1)


@register_importance
class BNScale(WeightImportance):
    """`|gamma|` of the batch normalisations; groups without one use `GroupL2`.

    Network slimming: Liu et al., ICCV 2017, arXiv 1708.06519.
    """

    name = "bn_scale"

    def score(self, channels: ChannelGraph) -> BackendTensor:
        slices = self.slices(channels, "scale")
        covered = np.zeros(channels.num_units + 1, bool)
        for s in slices:
            covered[s.units] = True
        scores = self.total(channels, slices, 1)
        if covered[1:].all():
            return scores
        return ops.where(covered, scores, GroupL2(self.members)(channels))


@register_importance
class Taylor(GroupL2):
    """The running mean of `|gate * dL/dgate|`; before training it is `GroupL2`.

    This is the sum of gradient x weight over the gated kernels (Molchanov et al.,
    CVPR 2019, arXiv 1906.10771).
    """

    name = "taylor"

    def make_estimator(self) -> SaliencyEstimator | None:
        return MeanGradient()


def normalize(scores: BackendTensor, channels: ChannelGraph) -> BackendTensor:
    """Divides scores `[num_units + 1]` by their group's mean."""
    group_of = np.maximum(channels.group_of, 0).astype("int32")
    sizes = np.array([g.size for g in channels.groups], "float32")
    member = (channels.group_of >= 0).astype("float32")
    sums = ops.segment_sum(scores * member, group_of, len(sizes))
    means = sums / sizes
    return scores / (ops.take(means, group_of) + 1e-12)
