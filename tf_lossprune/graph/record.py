"""What the rules said about one layer."""

from tf_lossprune.graph import labels as lb


class InnerConfig(dict):
    """Entries to replace in the config of a layer inside a layer."""


class LayerRecord:
    """All that the rules said about one layer, over all of its calls.

    Attributes:
        layer: the layer.
        weights: dict, weight name -> {axis: labels `[size]`}.
        gates: dict, weight name -> list of axes whose labels gate this weight, as it
            reads these channels.
        inner_gates: likewise of weights that make channels which stay in the layer.
        gated_calls: dict, `id(call)` -> (labels, computation), see
            `Context.gated_call`.
        constant_without: dict, `id(call)` -> list of labels, see
            `Context.constant_without`.
        factors: dict, weight name -> (labels, function from which of them are kept to
            a factor of what is left of the weight).
        config: dict, config entry -> (labels, function from which of them are
            kept to the entry's value, an `InnerConfig` for a layer inside it).
        arguments: dict, `id(call)` -> (labels, function from the call's
            positional arguments and which labels are kept to new arguments).
        positions: dict, weight name -> how often a sample is multiplied with
            each entry of the weight, over all calls.
        products: list of `(number, factors)`: multiplications per sample which no
            weight takes part in, for each combination of a kept label of every
            factor, which are label arrays.
        inside: dict, `id(call)` -> (number, labels): elements for each kept label of
            the tensors that only live inside the layer, at their fullest moment.
        opaque: dict, `id(call)` -> `OpaqueCall`, for calls whose cost was read off
            their operations.
    """

    def __init__(self, layer):
        self.layer = layer
        self.weights = {}
        self.gates = {}
        self.inner_gates = {}
        self.gated_calls = {}
        self.constant_without = {}
        self.factors = {}
        self.config = {}
        self.arguments = {}
        self.positions = {}
        self.products = []
        self.inside = {}
        self.opaque = {}

    def weight(self, name):
        """The variable of a declared weight."""
        return find_weight(self.layer, name)

    def relabel(self, unit_of):
        """Replaces all labels by `unit_of[label]`."""
        for name, axes in self.weights.items():
            for axis in [*axes]:
                units = unit_of[axes.pop(axis)]
                if isinstance(axis, tuple):
                    place, units = _settled(units)
                    axes_of_gates = self.gates.get(name, [])
                    if axis in axes_of_gates:
                        axes_of_gates[axes_of_gates.index(axis)] = axis[place]
                    axis = axis[place]
                axes[axis] = units
        for table in (self.config, self.arguments, self.factors, self.gated_calls):
            for key, (labels, function) in table.items():
                table[key] = (unit_of[labels], function)
        for labels in self.constant_without.values():
            labels[:] = [unit_of[found] for found in labels]
        self.inside = {k: (n, unit_of[lb]) for k, (n, lb) in self.inside.items()}
        self.products = [
            (n, tuple(unit_of[labels] for labels in factors))
            for n, factors in self.products
        ]


def _settled(units):
    """Along which axis the units of several axes of a weight vary, and `[size]`."""
    varying = lb.varying(lb.compact(units)) or [0]
    first = tuple(slice(None) if k in varying else 0 for k in range(units.ndim))
    return varying[0], units[first]


def find_weight(layer, name):
    """The variable of a layer under a name, dotted for a layer inside it.

    A number in it is a place in a list: `"cell.cells.0.kernel"`.
    """
    found = layer
    for part in name.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    return found
