"""The interface of a resource."""

import dataclasses

RESOURCES = {}


@dataclasses.dataclass(frozen=True)
class Term:
    """One summand of a cost: `coefficient * product of kept counts`.

    Attributes:
        layer: string, the layer it belongs to.
        coefficient: number, cost of one entry.
        factors: tuple of at most two unit index arrays; a factor's value is
            the number of its entries whose unit is kept (unit 0 always is).
    """

    layer: str
    coefficient: float
    factors: tuple


class Resource:
    """A resource: how its terms follow from a channel graph.

    Attributes:
        name: string, the key in a budget.
        unit: string, for tables.
    """

    name = None
    unit = ""

    def terms(self, channels):
        """Returns a list of `Term`s for a `ChannelGraph`."""
        raise NotImplementedError


def register_resource(resource):
    """Makes a `Resource` known under its name in budgets."""
    RESOURCES[resource.name] = resource
    return resource


def weight_terms(channels, coefficient):
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
            if len(varying) > 2:
                raise ValueError(
                    "Expected channels along at most two axes of a weight. Received: "
                    f"{len(varying)} axes of {name!r} of layer {record.layer.name!r}"
                )
            for axis, size in enumerate(shape):
                per_entry *= 1 if axis in varying else size
            factors = tuple(axes[axis] for axis in varying)
            terms.append(Term(record.layer.name, per_entry, factors))
    return terms
