"""A cost as a function of how many channels each group keeps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from tf_lossprune.errors import UncountableError
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.resources.base import RESOURCES, CostFunction, Resource, Term
from tf_lossprune.types import BackendTensor


def unit_counts(
    units: np.ndarray, group_of: np.ndarray, groups: int
) -> tuple[np.ndarray, float]:
    """How often units of each group occur in an index array.

    Args:
        units: int array of any shape.
        group_of: int `[num_units + 1]`, the group of each unit, -1 for unit 0.
        groups: int, number of groups.

    Returns:
        Counts `[groups]` and the number of entries that always stay.
    """
    counts = np.bincount(group_of[np.reshape(units, -1)] + 1, minlength=groups + 1)
    return counts[1:], counts[0]


def plain(value: Any) -> float:
    """A cost as a Python number: an int if it is a count."""
    value = float(value)
    return int(value) if value.is_integer() else value


class CostModel(CostFunction):
    """`F(n) = sum_t coef_t * prod_k factor_tk(n)`, each factor linear in `n`.

    The units of one group are interchangeable by construction of the groups, so
    that the cost depends on the kept numbers `n` alone: exactly for whole
    channels, and as the expectation for ratios (which is how DSA counts,
    arXiv 2004.02164).

    Args:
        name: string, the resource.
        terms: list of `Term`s.
        group_of: int `[num_units + 1]`, the group of each unit, -1 for unit 0.
        sizes: int `[groups]`, the groups' sizes.
        goes_with: dict, name of a layer -> list of int arrays of groups; where all of
            these have no channels, the layer costs nothing.
    """

    def __init__(
        self,
        name: str,
        terms: Sequence[Term],
        group_of: np.ndarray,
        sizes: Sequence[int] | np.ndarray,
        goes_with: Mapping[str, Sequence[np.ndarray]] | None = None,
    ) -> None:
        self.name = name
        self.sizes = np.asarray(sizes)
        self.layers = [t.layer for t in terms]
        self._goes_with = [
            (row, np.unique(np.concatenate(goes_with[layer])))
            for row, layer in enumerate(self.layers)
            if goes_with and layer in goes_with
        ]
        self.coefficients = np.array([t.coefficient for t in terms], np.float64)
        self._numbers = np.array([len(t.factors) for t in terms], int)
        most = self._numbers.max(initial=0)
        self._factors = [self._factor(terms, k, group_of) for k in range(most)]
        whole = np.array_equal(self.coefficients, np.rint(self.coefficients))
        self._rounded = np.rint if whole else np.asarray
        self.dense = self.total(self.sizes)
        self._last: tuple = (None, None)
        share = self.coefficients / max(self.dense, 1e-12)
        self._weights = share.astype("float32")
        self._factors32 = [
            (counts.astype("float32"), fixed.astype("float32"))
            for counts, fixed in self._factors
        ]

    def _factor(
        self, terms: Sequence[Term], place: int, group_of: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Counts `[terms, groups]` and constants `[terms]` of one factor."""
        groups = len(self.sizes)
        per_group = np.zeros((len(terms), groups))
        fixed = np.ones(len(terms))
        for t, term in enumerate(terms):
            if len(term.factors) > place:
                per_group[t], fixed[t] = unit_counts(
                    term.factors[place], group_of, groups
                )
        return per_group / np.maximum(self.sizes, 1), fixed

    def _values(self, kept: np.ndarray) -> list[np.ndarray]:
        kept = np.asarray(kept, np.float64)
        return [counts @ kept + fixed for counts, fixed in self._factors]

    def per_term(self, kept: np.ndarray) -> np.ndarray:
        """Cost of each term at `kept` `[groups]` channels."""
        return math.prod(self._values(kept), start=self._coefficients_at(kept))

    def _coefficients_at(self, kept: np.ndarray) -> np.ndarray:
        """The coefficients of the terms of layers that are there."""
        kept = np.asarray(kept)
        gone = [row for row, groups in self._goes_with if not kept[groups].any()]
        if not gone:
            return self.coefficients
        found = self.coefficients.copy()
        found[gone] = 0.0
        return found

    def total(self, kept: np.ndarray) -> float:
        """Cost at `kept` `[groups]` whole channels: a float.

        Counts (whole coefficients) are exact up to 2**53.
        """
        return float(self._rounded(self.per_term(kept).sum()))

    def totals_with(self, kept: np.ndarray, changed: np.ndarray) -> np.ndarray:
        kept = np.asarray(kept, np.float64)
        # Blocks do not come or go with the width of one group.
        coefficients = self._coefficients_at(kept)
        constant, linear, product = self._quadratic(coefficients)
        slope = product @ kept
        total = constant + (linear + 0.5 * slope) @ kept
        more = changed - kept
        found = total + more * (linear + slope + 0.5 * more * np.diag(product))
        rows = np.flatnonzero(self._numbers > 2)
        if rows.size:
            found += coefficients[rows] @ math.prod(
                (counts[rows] @ kept + fixed[rows])[:, None] + counts[rows] * more
                for counts, fixed in self._factors
            )
        return self._rounded(found)

    def _quadratic(self, coefficients: np.ndarray) -> tuple[float, Any, Any]:
        """`c, b, H` of the terms of up to two factors as `c + b n + n H n / 2`."""
        key = coefficients.tobytes()
        if self._last[0] != key:
            self._last = key, self._make_quadratic(coefficients)
        return self._last[1]

    def _make_quadratic(self, coefficients: np.ndarray) -> tuple[float, Any, Any]:
        coefficients = np.where(self._numbers > 2, 0.0, coefficients)
        none = (
            np.zeros((len(coefficients), len(self.sizes))),
            np.ones_like(coefficients),
        )
        left, right = [*self._factors[:2], none, none][:2]
        weighted = [coefficients[:, None] * counts for counts, _ in (left, right)]
        product = weighted[0].T @ right[0]
        return (
            coefficients @ (left[1] * right[1]),
            right[1] @ weighted[0] + left[1] @ weighted[1],
            product + product.T,
        )

    def per_layer(self, kept: np.ndarray) -> dict[str, float]:
        """Dict, layer name -> cost."""
        found = {}
        for layer, value in zip(self.layers, self.per_term(kept)):
            found[layer] = found.get(layer, 0) + plain(self._rounded(value))
        return found

    def gradient(self, kept: np.ndarray) -> np.ndarray:
        """Derivative of the cost by each group's kept channels, `[groups]`."""
        values = self._values(kept)
        found = np.zeros(len(self.sizes))
        for place, (counts, _) in enumerate(self._factors):
            others = values[:place] + values[place + 1 :]
            found += math.prod(others, start=self.coefficients) @ counts
        return found

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        """Expected share of the dense cost, as a tensor.

        Args:
            ratios: tensor `[groups]`, keep ratios in [0, 1].

        Returns:
            A float32 scalar tensor, 1 where all ratios are 1.
        """
        return ops.sum(math.prod(self._shares(ratios), start=self._weights))

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        """The gradient of `fraction` by the ratios, `[groups]`."""
        values = self._shares(ratios)
        found = ops.zeros(len(self.sizes), "float32")
        for place, (counts, _) in enumerate(self._factors32):
            others = values[:place] + values[place + 1 :]
            slope = math.prod(others, start=ops.convert_to_tensor(self._weights))
            found = found + ops.sum(slope[:, None] * counts, axis=0)
        return found * self.sizes.astype("float32")

    def _shares(self, ratios: BackendTensor) -> list[BackendTensor]:
        kept = ops.cast(ratios, "float32") * self.sizes.astype("float32")
        return [
            ops.sum(counts * kept, axis=1) + fixed for counts, fixed in self._factors32
        ]


class BilinearResource(Resource):
    """A resource that is a sum of products of widths: of two, in attention of three."""

    def terms(self, channels: ChannelGraph) -> list[Term]:
        """Returns a list of `Term`s for a `ChannelGraph`."""
        raise NotImplementedError

    def function(self, channels: ChannelGraph) -> CostModel:
        sizes = [group.size for group in channels.groups]
        return CostModel(
            self.name,
            self.terms(channels),
            channels.group_of,
            sizes,
            channels.goes_with,
        )


def cost_models(
    channels: ChannelGraph,
    names: Iterable[str] = ("macs", "params"),
    resources: Iterable[Resource] = (),
    optional: dict[str, str | None] | None = None,
) -> dict[str, CostFunction]:
    """Builds the cost functions of a `ChannelGraph`.

    Args:
        channels: `ChannelGraph`.
        names: iterable of names of resources.
        resources: list of `Resource`s that come before the registered ones.
        optional: dict, name -> text; what cannot be counted of these names is left
            out, and why is written here.

    Returns:
        Dict, name -> `CostFunction`.

    Raises:
        UncountableError: if one that is not optional cannot be counted.
    """
    known = {**RESOURCES, **{r.name: r for r in resources}}
    found = {}
    for name in names:
        try:
            found[name] = known[name].function(channels)
        except UncountableError as error:
            if optional is None or name not in optional:
                raise
            optional[name] = str(error)
    return found
