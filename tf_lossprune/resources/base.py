"""The interface of a resource, and of its cost as a function of the widths."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import TypeVar

import keras
import numpy as np

from tf_lossprune.config import Configurable
from tf_lossprune.graph import ChannelGraph
from tf_lossprune.graph.record import LayerRecord
from tf_lossprune.resources.measurer import Measurer
from tf_lossprune.types import BackendTensor

RESOURCES: dict[str, "Resource"] = {}

#: Factors of the units that a budget may be given in, by kind of resource.
COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BYTES = {
    "B": 1.0,
    **{f"{k}B": v for k, v in COUNTS.items() if k},
    "KB": 1e3,
    **{f"{k}iB": 1024.0**i for i, k in enumerate("KMGT", 1)},
}
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclasses.dataclass(frozen=True)
class Term:
    """One summand of a cost: `coefficient * product of kept counts`.

    Attributes:
        layer: string, the layer it belongs to.
        coefficient: number, cost of one entry.
        factors: tuple of unit index arrays; a factor's value is
            the number of its entries whose unit is kept (unit 0 always is).
    """

    layer: str
    coefficient: float
    factors: tuple[np.ndarray, ...]


class CostFunction:
    """What a network costs, as a function of how many channels each group keeps.

    Attributes:
        name: string, the resource.
        sizes: int `[groups]`, the groups' sizes.
        dense: float, the cost at full widths.
        monotone: bool, whether more channels never cost less.
    """

    name: str
    sizes: np.ndarray
    dense: float
    monotone = True

    def total(self, kept: np.ndarray) -> float:
        """Cost at `kept` `[groups]` whole channels: a float."""
        raise NotImplementedError

    def totals_with(self, kept: np.ndarray, changed: np.ndarray) -> np.ndarray:
        """Costs if the width of one group alone is changed: floats `[groups]`.

        The search for whole widths asks for nothing as often; override this where it
        can be had for less than a `total` for each group.

        Args:
            kept: int `[groups]`, the widths.
            changed: int `[groups]`, the width that each group has when it is its turn.
        """
        kept, changed = np.asarray(kept), np.asarray(changed)
        found = np.full(len(kept), self.total(kept), np.float64)
        for k in np.flatnonzero(changed != kept):
            trial = kept.copy()
            trial[k] = changed[k]
            found[k] = self.total(trial)
        return found

    def per_layer(self, kept: np.ndarray) -> dict[str, float]:
        """Dict, layer name -> its part of the cost; empty if it has no parts."""
        return {}

    def fixed_share(self, layers: Iterable[str]) -> float:
        """Share of the dense cost that some layers take whatever is pruned.

        Args:
            layers: iterable of names.
        """
        least = self.per_layer(np.zeros(len(self.sizes)))
        return sum(least.get(name, 0.0) for name in layers) / max(self.dense, 1e-12)

    def fraction(self, ratios: BackendTensor) -> BackendTensor:
        """Expected share of the dense cost, as a float32 scalar tensor.

        Args:
            ratios: tensor `[groups]`, keep ratios in [0, 1].
        """
        raise NotImplementedError

    def gradient_fraction(self, ratios: BackendTensor) -> BackendTensor:
        """The gradient of `fraction` by the ratios, `[groups]`."""
        raise NotImplementedError


class Resource(Configurable):
    """A resource: how its cost follows from a channel graph.

    Subclasses with parameters have `get_config` and are registered for
    `keras.saving`, so that they are saved with the pruned model.

    Attributes:
        name: string, the key in a budget.
        unit: string, for tables.
        units: dict, unit in a budget's text -> factor to `unit`.
        measured: bool, whether delivered models are measured, because what
            `function` says is an estimate.
    """

    name: str = ""
    unit = ""
    units = COUNTS
    measured = False

    def function(self, channels: ChannelGraph) -> CostFunction:
        """Returns the `CostFunction` for a `ChannelGraph`."""
        raise NotImplementedError

    def with_measurer(self, measurer: Measurer) -> "Resource":
        """This resource, which asks a `Measurer` where it cannot count."""
        return self

    def bind(self, channels: ChannelGraph) -> "Resource":
        """This resource with what it measures of the dense model, to be stored."""
        return self

    def measure(self, model: keras.Model, channels: ChannelGraph) -> float:
        """The cost of a delivered `keras.Model`, if `measured`.

        Args:
            model: the compact model.
            channels: `ChannelGraph` of the dense one.
        """
        raise NotImplementedError


AnyResource = TypeVar("AnyResource", bound="Resource")


def register_resource(resource: AnyResource) -> AnyResource:
    """Makes a `Resource` known under its name in budgets.

    Args:
        resource: `Resource`.

    Returns:
        The resource.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(resource, Resource):
        raise TypeError(
            f"Expected a Resource. Received: {resource!r} (of type "
            f"{type(resource).__name__})"
        )
    RESOURCES[resource.name] = resource
    return resource


def weight_terms(
    channels: ChannelGraph, coefficient: Callable[[LayerRecord, str], float]
) -> list[Term]:
    """Terms for all weights of all layers.

    Args:
        channels: `ChannelGraph`.
        coefficient: function `(record, weight name) -> number`, the cost of one
            entry of the weight; 0 leaves the weight out.

    Returns:
        A list of `Term`s.
    """
    terms = []
    for record in channels.records.values():
        for name, axes in record.weights.items():
            per_entry = coefficient(record, name)
            if not per_entry:
                continue
            shape = record.weight(name).shape
            varying = sorted(axis for axis in axes if axes[axis].any())
            for axis, size in enumerate(shape):
                per_entry *= 1 if axis in varying else size
            factors = tuple(axes[axis] for axis in varying)
            terms.append(Term(record.layer.name, per_entry, factors))
    return terms
