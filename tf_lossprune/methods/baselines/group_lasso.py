"""Group Lasso: whole channels are driven to zero."""

import keras
import numpy as np
from keras import ops

from tf_lossprune.gates.weight_slices import weight_slices
from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.threshold import PenaltyMethod
from tf_lossprune.types import BackendTensor


class GroupLassoSearch(Search):
    """Trains under the sum of the L2 norms of all units' producing weights."""

    def make_variables(self, groups: int, total: int) -> None:
        self._slices = [
            s
            for s in weight_slices(self.channel_graph)
            if s.role == "producer" and any(s.units)
        ]
        entries = np.zeros(total, "float32")
        for s in self._slices:
            np.add.at(entries, s.units, np.prod(s.variable.shape) / len(s.units))
        entries[0] = 0.0
        self._entries = entries
        self.typical = self.variable((groups,), 0.0, "typical")

    def _squares(self) -> BackendTensor:
        total = self.layout.num_units + 1
        sums = ops.zeros((total,), "float32")
        for s in self._slices:
            sums = sums + s.by_unit(s.sums(2), total)
        return sums * (self._entries > 0)

    def penalty(self) -> BackendTensor:
        # The root has no gradient at zero.
        norms = ops.sqrt(self._squares() + 1e-12) * np.sqrt(self._entries)
        return self.method.strength * ops.sum(norms)

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        first = ops.logical_and(searching, self.step == self.warmup_steps)
        self.typical.assign(ops.where(first, self._means(), self.typical.value))
        return super().draw(searching, limits)

    def _sizes(self) -> BackendTensor:
        squares = ops.stop_gradient(self._squares())
        return ops.sqrt(squares / np.maximum(self._entries, 1.0))

    def _means(self) -> BackendTensor:
        return self.layout.mean(self.layout.rows(self._sizes()))

    def current_importance(self) -> BackendTensor:
        typical = ops.where(self.typical.value > 0, self.typical.value, self._means())
        return self._sizes() / (self.layout.spread(typical) + 1e-12)


@keras.saving.register_keras_serializable(package="tf_lossprune")
class GroupLasso(PenaltyMethod):
    """A group-norm regulariser while training, a global threshold at the end.

    Structured sparsity learning: Wen et al., NeurIPS 2016, arXiv 1608.03665. A
    unit's norm goes over the kernels of all layers that produce it, and counts by
    the root of their number of entries. Units are compared by what is left of their
    norm, as a multiple of their group's mean at the start of the search: norms of
    layers of different width are not alike, and few of them reach zero in a short
    search. Here by subgradient, not by a proximal step.

    Args:
        strength: float > 0, the penalty's factor.
    """

    name = "group_lasso"
    search_class = GroupLassoSearch

    def __init__(self, strength: float = 1e-4) -> None:
        super().__init__(strength)


register_method(GroupLasso)
