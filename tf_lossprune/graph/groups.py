"""Coupling groups: the channel units of a model, sorted and named."""

import collections
import dataclasses

import numpy as np
from keras import tree

from tf_lossprune.exclude import excluded_layers
from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.context import Context
from tf_lossprune.graph.copying import used_by_hand
from tf_lossprune.graph.record import LayerRecord
from tf_lossprune.graph.rules import PASSING, find_rule
from tf_lossprune.graph.tracing import Graph, trace
from tf_lossprune.graph.training_only import passes_elements
from tf_lossprune.graph.work import Work
from tf_lossprune.tables.html import html_table


@dataclasses.dataclass
class Group:
    """Channel units which one set of layers produces together.

    Attributes:
        name: string, the first producer's name, unique among the groups.
        units: int `[size]`, indices of its units; 0 is never among them.
        producers: list of names of the layers that make these channels.
        consumers: list of names of the layers that read them with a kernel.
        through: list of names of the layers with weights per channel between
            (BatchNormalization, DepthwiseConv2D, ...).
    """

    name: str
    units: np.ndarray
    producers: list
    consumers: list
    through: list

    @property
    def size(self):
        return len(self.units)

    def __repr__(self):
        layers = " > ".join(
            ", ".join(names)
            for names in (self.producers, self.through, self.consumers)
            if names
        )
        return f"<Group {self.name}: {self.size} channels; {layers}>"

    def __str__(self):
        lines = [f"group {self.name}: {self.size} units"]
        for title in ("producers", "through", "consumers"):
            names = getattr(self, title)
            if names:
                lines.append(f"  {title:9s} {', '.join(names)}")
        return "\n".join(lines)

    def _repr_html_(self):
        rows = [
            (title, ", ".join(getattr(self, title)))
            for title in ("producers", "through", "consumers")
        ]
        head = (f"group {self.name}", f"{self.size} channels")
        return html_table([head, *rows], left=(0, 1))


class ChannelGraph:
    """Everything known about the channels of one model.

    Attributes:
        graph: the flattened `Graph`.
        records: dict, `id(operation)` -> `LayerRecord`; labels in it are unit
            indices here: 0 for what always stays, 1 to `num_units` otherwise.
        groups: list of `Group`s in order of appearance.
        labels: dict, `id(tensor)` -> array of units, broadcastable to the shape of
            one sample: which unit each element belongs to.
        num_units: int.
        group_of: int `[num_units + 1]`, the group of each unit, -1 for unit 0.
        frozen: list of `(layer name, reason)`.
        hidden: dict, `id(tensor)` -> units along its last axis, besides the channels
            along another one: what a layer that mixes positions made.
        goes_with: dict, name of a layer -> list of int arrays of groups: the layer goes
            if each of them has no channels. Empty unless blocks may be removed.
    """

    def __init__(self, graph, records, labels, groups, group_of, frozen):
        self.graph = graph
        self.records = records
        self.labels = labels
        self.groups = groups
        self.group_of = group_of
        self.num_units = len(group_of) - 1
        self.frozen = frozen
        self.hidden, self.goes_with = {}, {}

    def record(self, operation):
        """The `LayerRecord` of a layer or operation of the graph."""
        return self.records[id(operation)]

    def gated(self, layer):
        """The gates of a layer that can close: dict, weight -> {axis: units}."""
        record = self.record(layer)
        found = {}
        for gates in (record.gates, record.inner_gates):
            for name, axes in gates.items():
                for axis in axes:
                    units = record.weights[name][axis]
                    if units.any():
                        found.setdefault(name, {})[axis] = units
        return found

    def gated_call(self, call):
        """How a call that mixes channels is gated: (units, computation), or None."""
        found = self.record(call.operation).gated_calls.get(id(call))
        return found if found is not None and found[0].any() else None


def analyze(model, exclude=None, input_shape=None, filters=None):
    """Finds the coupling groups of a model.

    Args:
        model: functional or Sequential `keras.Model`, which is not changed; or its
            `Graph`, where it has been traced already.
        exclude: as in `prune_model`; the output channels of these layers stay.
        input_shape: tuple, the shape of one sample to count operations for, if the
            model's own has unknown sizes; a list or dict of them for several inputs.
        filters: as in `prune_model`; the channels that other layers make stay.

    Returns:
        A `ChannelGraph`.

    Raises:
        TypeError, ValueError: as `trace` and `excluded_layers`; ValueError for an
            input shape that does not fit the model.
    """
    graph = model if isinstance(model, Graph) else trace(model)
    excluded = {id(layer) for layer in excluded_layers(graph.layers, exclude)}
    others = set()
    if filters is not None:
        chosen = excluded_layers(graph.layers, filters, option="filters")
        others = {id(la) for la in graph.layers} - {id(la) for la in chosen}
    ties = lb.Ties()
    log = []
    records, labels, uniform, hidden = {}, {}, set(), {}
    work = Work(graph, input_shape)
    for tensor in tree.flatten(graph.inputs):
        tensor.batch_axis = 0
        labels[id(tensor)] = np.zeros((1,) * len(tensor.sample_shape), int)
    for call in graph.calls:
        inputs = [labels[id(t)] for t in call.data]
        operation = call.operation
        record = records.setdefault(id(operation), LayerRecord(operation))
        ctx = Context(call, inputs, ties, record, log, uniform, hidden)
        for mask in call.masks:
            ctx.freeze(labels[id(mask)], "it serves as a mask")
        first = ties.count
        work.begin(call)
        opaque = work.follow(ctx, _apply_rule(ctx, graph.closed))
        ctx.freeze_hidden()
        labels.update((id(t), found) for t, found in zip(call.data, ctx.input_labels))
        if opaque is not None:
            record.opaque[id(call)] = opaque
        if id(operation) in others:
            ctx.freeze(np.arange(first, ties.count), "not among the filters")
        if id(operation) in excluded:
            ctx.freeze(np.arange(first, ties.count), "excluded")
            ctx.freeze(
                np.concatenate([o.reshape(-1) for o in ctx.output_labels]), "excluded"
            )
        for tensor, found in zip(call.outputs, ctx.output_labels):
            labels[id(tensor)] = found
    _freeze_shared(graph, records, ties, log)
    for tensor in tree.flatten(graph.outputs):
        units = np.unique(np.append(labels[id(tensor)], hidden.get(id(tensor), 0)))
        ties.freeze(units)
        log.append((units[units != 0], _producer_of(graph, tensor), "model output"))
    if ties.has_options:
        ties.choose(min((0, 1), key=lambda i: _narrowest(records, ties, i)))
    weights = [a for r in records.values() for a in r.weights.values()]
    ties.straighten([*labels.values(), *(x for a in weights for x in a.values())])
    return _collect(graph, records, labels, hidden, ties, log)


def _apply_rule(ctx, closed):
    rule = find_rule(ctx.layer) or _rule_by_trial(ctx)
    why = closed.get(id(ctx.layer))
    if rule is None:
        ctx.freeze_all(
            f"no rule for {type(ctx.layer).__name__}" + (f", and {why}" if why else "")
        )
    elif getattr(ctx.layer, "quantization_mode", None) is not None:
        ctx.freeze_all("it is quantized")
    elif getattr(ctx.layer, "lora_enabled", False):
        ctx.freeze_all("it has LoRA weights")
    elif not rule.any_layout and not ctx.settle():
        ctx.freeze_all("the batch is not the first axis of its input")
    else:
        rule.apply(ctx, ctx.layer)
        if why and ctx.frozen:
            ctx.frozen += f": {why}"
    return rule


def _rule_by_trial(ctx):
    """The rule of a layer of somebody's own that does nothing in inference, or None."""
    if len(ctx.call.inputs) != 1 or len(ctx.call.args) != 1 or ctx.batch_axis() != 0:
        return None
    x, labels = ctx.inputs[0], ctx.input_labels[0]
    axes = [axis + 1 for axis, size in enumerate(labels.shape) if size > 1]
    return PASSING if passes_elements(ctx.layer, x.shape, x.dtype, axes) else None


def _freeze_shared(graph, records, ties, log):
    """Freezes the channels of weights that something else than their layer reads.

    Another layer that holds them inside itself, a function's closure, or an operation
    to which they were handed.
    """
    declared = {
        id(record.weight(name)): axes
        for record in records.values()
        for name, axes in record.weights.items()
    }
    used = [(call.operation.name, used_by_hand(call)) for call in graph.calls]
    for record in records.values():
        own = {id(record.weight(name)) for name in record.weights}
        held = [w for w in getattr(record.layer, "weights", ()) if id(w) not in own]
        used.append((record.layer.name, held))
    for name, weights in used:
        for weight in weights:
            for labels in declared.get(id(weight), {}).values():
                units = np.unique(labels[labels != lb.FROZEN])
                ties.freeze(units)
                log.append((units, name, "its weights are used in"))


def _narrowest(records, ties, option):
    """How many channels are left at the least, if one of two ways to tie is chosen."""
    ties.choose(option)
    roots, frozen = ties.resolve()
    signatures = _signatures(records, ties, roots, frozen)
    units = collections.Counter(signatures[r] for r in np.unique(roots[~frozen]))
    return frozen.sum() + sum(1 / units[signatures[r]] for r in roots[~frozen])


def _producer_of(graph, tensor):
    for call in graph.calls:
        if any(t is tensor for t in call.outputs):
            return call.operation.name
    return tensor.name


def _collect(graph, records, labels, hidden, ties, log):
    roots, frozen = ties.resolve()
    signature = _signatures(records, ties, roots, frozen)
    # Units with one signature form a group, in order of first appearance.
    members = {}
    for root in np.flatnonzero((roots == np.arange(ties.count)) & ~frozen):
        members.setdefault(signature[root], []).append(root)
    unit_of = np.zeros(ties.count, int)
    group_of = [-1]
    for index, units in enumerate(members.values()):
        start = len(group_of)
        unit_of[units] = np.arange(start, start + len(units))
        group_of += [index] * len(units)
    unit_of = unit_of[roots] * ~frozen
    for record in records.values():
        record.relabel(unit_of)
    labels = {key: unit_of[values] for key, values in labels.items()}
    hidden = {key: unit_of[values] for key, values in hidden.items()}
    groups_of_units = np.asarray(group_of)
    groups = _name_groups(records, ties, unit_of, groups_of_units, len(members))
    reasons = _reasons(ties, log, roots, frozen)
    found = ChannelGraph(graph, records, labels, groups, groups_of_units, reasons)
    found.hidden = {key: units for key, units in hidden.items() if units.any()}
    return found


def _signatures(records, ties, roots, frozen):
    """A hashable per root: who makes it, and how often each weight axis holds it.

    Units of one group are thereby interchangeable in every count.
    """
    found = [[] for _ in range(ties.count)]
    for index, (start, size, _) in enumerate(ties.blocks):
        made, held = (index,), roots[start : start + size]
        for root in held[~frozen[held]].tolist():
            found[root].append(made)
    used = [
        labels
        for record in records.values()
        for labels in [
            *(la for axes in record.weights.values() for la in axes.values()),
            *(la for _, factors in record.products for la in factors),
        ]
    ]
    for number, labels in enumerate([*used, *ties.parts]):
        held, counts = np.unique(roots[labels], return_counts=True)
        free = ~frozen[held]
        for root, count in zip(held[free].tolist(), counts[free].tolist()):
            found[root].append((-1 - number, count))
    return [tuple(sorted(set(s))) if s else () for s in found]


def _name_groups(records, ties, unit_of, group_of, count):
    producers, consumers, through = ([[] for _ in range(count)] for _ in range(3))

    def add(lists, units, name):
        for group in np.unique(group_of[units]):
            if group >= 0 and name not in lists[group]:
                lists[group].append(name)

    for start, size, owner in ties.blocks:
        add(producers, unit_of[start : start + size], owner)
    for record in records.values():
        name = record.layer.name
        for weight, axes in record.weights.items():
            for axis, units in axes.items():
                if axis in record.gates.get(weight, ()):
                    add(consumers, units, name)
                elif len(axes) == 1:
                    for group in np.unique(group_of[units]):
                        if group >= 0 and name not in producers[group]:
                            add(through, units[group_of[units] == group], name)
    groups, taken = [], set()
    for k in range(count):
        name, number = producers[k][0], 1
        while name in taken:
            number += 1
            name = f"{producers[k][0]}/{number}"
        taken.add(name)
        units = np.flatnonzero(group_of == k)
        groups.append(Group(name, units, producers[k], consumers[k], through[k]))
    return groups


def _reasons(ties, log, roots, frozen):
    """Lists `(producer, reason)` for each producing layer that is frozen."""
    by_root = {}
    for labels, name, reason in log:
        for root in np.unique(roots[labels]):
            by_root.setdefault(root, f"{reason} ({name})")
    found = {}
    for start, size, owner in ties.blocks:
        stuck = [r for r in roots[start : start + size] if frozen[r]]
        if stuck and owner not in found:
            part = "" if len(stuck) == size else f"{len(stuck)} of {size} channels: "
            found[owner] = part + by_root.get(stuck[0], "tied to frozen channels")
    return list(found.items())
