"""A cost as a function of how many channels each group keeps."""

import functools
from collections.abc import Iterable, Sequence
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
    """`F(n) = sum_t coef_t * left_t(n) * right_t(n)`, each side linear in `n`.

    The units of one group are interchangeable by construction of the groups, so
    that the cost depends on the kept numbers `n` alone: exactly for whole
    channels, and as the expectation for ratios (which is how DSA counts,
    arXiv 2004.02164).

    Args:
        name: string, the resource.
        terms: list of `Term`s.
        group_of: int `[num_units + 1]`, the group of each unit, -1 for unit 0.
        sizes: int `[groups]`, the groups' sizes.
    """

    def __init__(
        self,
        name: str,
        terms: Sequence[Term],
        group_of: np.ndarray,
        sizes: Sequence[int] | np.ndarray,
    ) -> None:
        self.name = name
        self.sizes = np.asarray(sizes)
        self.layers = [t.layer for t in terms]
        self.coefficients = np.array([t.coefficient for t in terms], np.float64)
        self._left, self._left_fixed = self._side(terms, 0, group_of)
        self._right, self._right_fixed = self._side(terms, 1, group_of)
        whole = np.array_equal(self.coefficients, np.rint(self.coefficients))
        self._rounded = np.rint if whole else np.asarray
        self.dense = self.total(self.sizes)
        share = self.coefficients / max(self.dense, 1e-12)
        self._weights = share.astype("float32")
        self._left32 = self._left.astype("float32")
        self._right32 = self._right.astype("float32")

    def _side(
        self, terms: Sequence[Term], side: int, group_of: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Counts `[terms, groups]` and constants `[terms]` of one factor."""
        groups = len(self.sizes)
        per_group = np.zeros((len(terms), groups))
        fixed = np.ones(len(terms))
        for t, term in enumerate(terms):
            if len(term.factors) > side:
                per_group[t], fixed[t] = unit_counts(
                    term.factors[side], group_of, groups
                )
        return per_group / np.maximum(self.sizes, 1), fixed

    def _sides(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (
            self._left @ kept + self._left_fixed,
            self._right @ kept + self._right_fixed,
        )

    def per_term(self, kept: np.ndarray) -> np.ndarray:
        """Cost of each term at `kept` `[groups]` channels."""
        left, right = self._sides(np.asarray(kept, np.float64))
        return self.coefficients * left * right

    def total(self, kept: np.ndarray) -> float:
        """Cost at `kept` `[groups]` whole channels: a float.

        Counts (whole coefficients) are exact up to 2**53.
        """
        return float(self._rounded(self.per_term(kept).sum()))

    def totals_with(self, kept: np.ndarray, changed: np.ndarray) -> np.ndarray:
        kept = np.asarray(kept, np.float64)
        constant, linear, product = self._quadratic
        slope = product @ kept
        total = constant + (linear + 0.5 * slope) @ kept
        more = changed - kept
        by_width = more * (linear + slope + 0.5 * more * np.diag(product))
        return self._rounded(total + by_width)

    @functools.cached_property
    def _quadratic(self) -> tuple[float, np.ndarray, np.ndarray]:
        """`c, b, H` of the cost as `c + b n + n H n / 2`."""
        sides = self._left, self._right
        left, right = (self.coefficients[:, None] * side for side in sides)
        product = left.T @ self._right
        return (
            self.coefficients @ (self._left_fixed * self._right_fixed),
            self._right_fixed @ left + self._left_fixed @ right,
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
        left, right = self._sides(np.asarray(kept, np.float64))
        return (self.coefficients * right) @ self._left + (
            self.coefficients * left
        ) @ self._right

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        """Expected share of the dense cost, as a tensor.

        Args:
            ratios: tensor `[groups]`, keep ratios in [0, 1].

        Returns:
            A float32 scalar tensor, 1 where all ratios are 1.
        """
        left, right = self._shares(ratios)
        return ops.sum(self._weights * left * right)

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        """The gradient of `fraction` by the ratios, `[groups]`."""
        left, right = self._shares(ratios)
        by_kept = ops.sum((self._weights * right)[:, None] * self._left32, axis=0)
        by_kept = by_kept + ops.sum(
            (self._weights * left)[:, None] * self._right32, axis=0
        )
        return by_kept * self.sizes.astype("float32")

    def _shares(self, ratios: BackendTensor) -> tuple[BackendTensor, BackendTensor]:
        kept = ops.cast(ratios, "float32") * self.sizes.astype("float32")
        left = ops.sum(self._left32 * kept, axis=1)
        right = ops.sum(self._right32 * kept, axis=1)
        return (
            left + self._left_fixed.astype("float32"),
            right + self._right_fixed.astype("float32"),
        )


class BilinearResource(Resource):
    """A resource that is a sum of products of at most two widths each."""

    def terms(self, channels: ChannelGraph) -> list[Term]:
        """Returns a list of `Term`s for a `ChannelGraph`."""
        raise NotImplementedError

    def function(self, channels: ChannelGraph) -> CostModel:
        sizes = [group.size for group in channels.groups]
        return CostModel(self.name, self.terms(channels), channels.group_of, sizes)


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
