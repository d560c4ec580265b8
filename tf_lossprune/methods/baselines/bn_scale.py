"""Network slimming: sparse scales of batch normalisations."""

import keras
import numpy as np
from keras import ops

from tf_lossprune.gates.weight_slices import weight_slices
from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.threshold import PenaltyMethod
from tf_lossprune.types import BackendTensor


class ScaleSearch(Search):
    """Trains under an L1 penalty on `|gamma|`, each with a factor."""

    def make_variables(self, groups: int, total: int) -> None:
        self.slices = [
            s
            for s in weight_slices(self.channel_graph)
            if s.role == "scale" and any(s.units)
        ]
        counts = np.zeros(total, "float32")
        for s in self.slices:
            np.add.at(counts, s.units, 1.0)
        counts[0] = 0.0
        self._counts = counts

    def scales(self) -> BackendTensor:
        """`[num_units + 1]`: the mean `|gamma|` of each unit, 0 where it has none."""
        total = self.layout.num_units + 1
        sums = ops.zeros((total,), "float32")
        for s in self.slices:
            sums = sums + s.by_unit(s.sums(1), total)
        return sums / np.maximum(self._counts, 1.0) * (self._counts > 0)

    def factors(self) -> BackendTensor:
        """`[num_units + 1]`: the factor of each unit's scale in the penalty."""
        return np.ones(self.layout.num_units + 1, "float32")

    def penalty(self) -> BackendTensor | None:
        if not self.slices:
            return None
        weighted = ops.stop_gradient(self.factors()) * self._counts * self.scales()
        return self.method.strength * ops.sum(weighted)

    def current_importance(self) -> BackendTensor:
        covered = self._counts > 0
        scales = ops.stop_gradient(self.scales())
        mean = ops.sum(scales) / max(covered.sum(), 1)
        # Groups without a normalisation: weight norms, at the scales' level.
        level = ops.where(mean > 0, mean, 1.0)
        return ops.where(covered, scales, level * super().current_importance())


@keras.saving.register_keras_serializable(package="tf_lossprune")
class BnScale(PenaltyMethod):
    """L1 on the scales of batch normalisations, then a global threshold on them.

    Network slimming: Liu et al., ICCV 2017, arXiv 1708.06519. Groups without a
    batch normalisation compete by their weight norms, at the scales' mean.
    The penalty does not know the budget; the threshold is the lowest that keeps it.

    Args:
        strength: float > 0, the penalty's factor.

    Example:

    ```python
    from tf_lossprune import methods

    pruned = tf_lossprune.prune_model(
        model, {"macs": 0.5}, method=methods.BnScale(strength=1e-3))
    ```
    """

    name = "bn_scale"
    search_class = ScaleSearch

    def __init__(self, strength: float = 1e-4) -> None:
        super().__init__(strength)


register_method(BnScale)
