"""A network's milliseconds as a function of its widths."""

import functools
from collections.abc import Sequence

import numpy as np
from keras import ops

from tf_lossprune.resources.base import CostFunction, Term
from tf_lossprune.resources.model import CostModel, unit_counts
from tf_lossprune.types import BackendTensor


class LatencyFunction(CostFunction):
    """A sum over operations of their times, plus what the runtime takes.

    The total is that of whole channels, steps included; the expectation for ratios
    is smooth and meets it at full widths. An operation without channels is free.

    Args:
        operations: list of `(layer name, OperationTime, input units, output
            units)`.
        overhead: float, milliseconds that do not depend on widths.
        group_of: int `[num_units + 1]`.
        sizes: int `[groups]`.
        dense: float or None, measured milliseconds at full widths; all operations'
            times are scaled to it.
    """

    name = "latency_ms"
    monotone = False

    def __init__(
        self,
        operations: Sequence[tuple],
        overhead: float,
        group_of: np.ndarray,
        sizes: Sequence[int],
        dense: float | None = None,
    ) -> None:
        self.sizes = np.asarray(sizes)
        self._operations = [(layer, time) for layer, time, *_ in operations]
        self._sides = [
            self._counts([entry[side] for entry in operations], group_of)
            for side in (2, 3)
        ]
        self._overhead, self._scale = overhead, 1.0
        predicted = sum(self._milliseconds(self.sizes))
        if dense is not None:
            self._scale = max(dense - overhead, 1e-6) / max(predicted, 1e-6)
        self.dense = self.total(self.sizes)
        self._share = predicted * self._scale / max(self.dense, 1e-12)
        self._smooth = self._smooth_part(operations, group_of)

    def _counts(
        self, units: list[np.ndarray], group_of: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        groups = len(self.sizes)
        counted = [unit_counts(u, group_of, groups) for u in units]
        per_kept = np.array([c for c, _ in counted]).reshape(-1, groups)
        fixed = np.array([always for _, always in counted], float)
        return per_kept / np.maximum(self.sizes, 1), fixed

    def _smooth_part(
        self, operations: Sequence[tuple], group_of: np.ndarray
    ) -> CostModel:
        terms = []
        for layer, time, given, made in operations:
            a, b, c, d = time.coefficients
            full = a + b * len(given) + c * len(made) + d * len(given) * len(made)
            factor = time(len(given), len(made)) / full if full else 0.0
            for value, factors in (
                (a, ()), (b, (given,)), (c, (made,)), (d, (given, made)),
            ):  # fmt: skip
                if value * factor:
                    terms.append(Term(layer, value * factor, factors))
        return CostModel(self.name, terms, group_of, self.sizes)

    def _milliseconds(self, kept: np.ndarray) -> list[float]:
        kept = np.asarray(kept, np.float64)
        given, made = (np.rint(matrix @ kept + fixed) for matrix, fixed in self._sides)
        pairs = zip(given.tolist(), made.tolist())
        return [self._time(row, i, o) for row, (i, o) in enumerate(pairs)]

    def _time(self, row: int, given: float, made: float) -> float:
        """Milliseconds of one operation at whole numbers of channels."""
        if not given or not made:
            return 0.0
        return self._scale * self._operations[row][1](given, made)

    def total(self, kept: np.ndarray) -> float:
        return float(self._overhead + sum(self._milliseconds(kept)))

    def totals_with(self, kept: np.ndarray, changed: np.ndarray) -> np.ndarray:
        before = self._milliseconds(kept)
        found = np.full(len(kept), self._overhead + sum(before))
        kept, more = np.asarray(kept, np.float64), changed - np.asarray(kept)
        sides = [matrix @ kept + fixed for matrix, fixed in self._sides]
        for k in np.flatnonzero(more):
            for row in self._readers[k]:
                given, made = (
                    float(np.rint(side[row] + matrix[row, k] * more[k]))
                    for side, (matrix, _) in zip(sides, self._sides)
                )
                found[k] += self._time(row, given, made) - before[row]
        return found

    @functools.cached_property
    def _readers(self) -> list[np.ndarray]:
        """The operations whose time depends on each group's width."""
        varying = [matrix != 0 for matrix, _ in self._sides]
        return [np.flatnonzero(row) for row in np.logical_or(*varying).T]

    def per_layer(self, kept: np.ndarray) -> dict[str, float]:
        found = {}
        for (layer, _), value in zip(self._operations, self._milliseconds(kept)):
            found[layer] = found.get(layer, 0.0) + value
        return found

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        fixed = 1.0 - self._share
        return ops.cast(self._smooth.fraction(ratios) * self._share + fixed, "float32")

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        return self._smooth.gradient_fraction(ratios) * self._share
