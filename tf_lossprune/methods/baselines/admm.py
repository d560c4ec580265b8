"""ADMM: the weights approach their projection onto the budgeted set."""

from typing import Any

import keras
from keras import ops

from tf_lossprune.config import check_count, check_positive
from tf_lossprune.gates.importance import normalize
from tf_lossprune.gates.weight_slices import weight_slices
from tf_lossprune.methods.base import register_method
from tf_lossprune.methods.search import Search
from tf_lossprune.methods.threshold import ThresholdMethod, threshold_gates
from tf_lossprune.types import BackendTensor


class AdmmSearch(Search):
    """Pulls the producing kernels towards `Z - U`, which is updated now and then."""

    def make_variables(self, groups: int, total: int) -> None:
        self._slices = [
            s
            for s in weight_slices(self.channel_graph)
            if s.role == "producer" and any(s.units)
        ]
        shapes = [tuple(s.variable.shape) for s in self._slices]
        # U, the scaled dual; and Z - U, where Z is the projection.
        self._duals = [
            self.variable(shape, 0.0, f"dual_{i}") for i, shape in enumerate(shapes)
        ]
        self._goals = [
            self.variable(shape, 0.0, f"goal_{i}") for i, shape in enumerate(shapes)
        ]
        self.begun = self.variable((), 0.0, "begun")

    def draw(
        self, searching: BackendTensor, limits: BackendTensor
    ) -> tuple[BackendTensor, BackendTensor | None, BackendTensor]:
        due = self.refreshing(self.method.interval)
        old = [v.value + 0.0 for v in (*self._duals, *self._goals)]
        new = ops.cond(due, self._updated, lambda: old)
        for variable, value in zip((*self._duals, *self._goals), new):
            variable.assign(value)
        self.begun.assign(ops.where(searching, 1.0, self.begun.value))
        return super().draw(searching, limits)

    def _updated(self) -> list:
        sums = [
            ops.cast(s.variable.value, "float32") + dual.value
            for s, dual in zip(self._slices, self._duals)
        ]
        kept, _ = threshold_gates(self, self._norms(sums), self.targets)
        projected = [
            value * s.along_axis(ops.take(kept, s.units.astype("int32")))
            for s, value in zip(self._slices, sums)
        ]
        duals = [value - z for value, z in zip(sums, projected)]
        return duals + [z - dual for z, dual in zip(projected, duals)]

    def _norms(self, values: list) -> BackendTensor:
        """Unit scores of weights in these places, with mean 1 over each group."""
        total = self.layout.num_units + 1
        scores = ops.zeros((total,), "float32")
        for s, value in zip(self._slices, values):
            sums = s.sums(2, value)
            scores = scores + s.by_unit(sums / (ops.mean(sums) + 1e-12), total)
        return normalize(ops.sqrt(scores), self.channel_graph)

    def penalty(self) -> BackendTensor:
        distance = sum(
            ops.sum(ops.square(ops.cast(s.variable.value, "float32") - goal.value))
            for s, goal in zip(self._slices, self._goals)
        )
        return 0.5 * self.method.rho * distance * self.begun.value

    def current_importance(self) -> BackendTensor:
        return self._norms([ops.stop_gradient(s.variable.value) for s in self._slices])


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Admm(ThresholdMethod):
    """Alternating directions: train towards the nearest network in the budget.

    Zhang et al., ECCV 2018, arXiv 1804.03294; for whole channels, arXiv 1807.11091.
    `Z` is the projection of `W + U`: the channels with the largest norms (relative
    to their group's mean) under one threshold that keeps the budget; the loss gets
    `rho / 2 * |W - Z + U|^2`, and `U <- U + W - Z`. At the end the channels that `Z`
    lacks are small, and go by the same threshold. The widths thus come from the
    weights' norms: the loss does not move them.

    Args:
        rho: float > 0, the penalty's factor.
        interval: int >= 1, training steps between two projections.
    """

    name = "admm"
    trains = True
    search_class = AdmmSearch

    def __init__(self, rho: float = 0.01, interval: int = 32) -> None:
        self.rho = check_positive("rho", rho)
        self.interval = check_count("interval", interval, 1)

    def get_config(self) -> dict[str, Any]:
        return {"rho": self.rho, "interval": self.interval}


register_method(Admm)
