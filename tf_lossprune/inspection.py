"""What a model's channels look like before anything is pruned."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from tf_lossprune.deploy.measurer import LitertMeasurer
from tf_lossprune.graph import Graph
from tf_lossprune.problem import PruningProblem, SearchSpace
from tf_lossprune.resources import (
    RESOURCES,
    CostFunction,
    CostModel,
    Resource,
    cost_models,
    opaque_layers,
    plain,
)
from tf_lossprune.surgery import flat_graph
from tf_lossprune.tables.figures import text_of, title_of
from tf_lossprune.tables.html import html_block, html_table
from tf_lossprune.types import Exclude, InputShape, Multiple


@dataclasses.dataclass
class OpenedLayer:
    """A layer of somebody's own that was opened.

    Attributes:
        layer: string, its name: a path.
        kind: string, its class.
        depth: int, how many opened layers are around it.
        share: dict, resource -> the share of the dense cost of what is in it, 0 to 1.
    """

    layer: str
    kind: str
    depth: int
    share: dict[str, float]

    def __str__(self) -> str:
        shares = ", ".join(f"{value:.1%} of {n}" for n, value in self.share.items())
        return f"{'  ' * self.depth}{self.layer} ({self.kind}): {shares}"


@dataclasses.dataclass
class InspectedBlock:
    """A branch beside a skip path that may go with `remove_blocks=True`.

    Attributes:
        name: string, its first layer.
        groups: list of names of the groups that lose all their channels.
        layers: list of names of the layers and operations that go with them.
        share: dict, resource -> the share of the dense cost that goes, 0 to 1.
    """

    name: str
    groups: list[str]
    layers: list[str]
    share: dict[str, float]

    def __str__(self) -> str:
        shares = ", ".join(f"{value:.1%} of {n}" for n, value in self.share.items())
        return f"{self.name} ({', '.join(self.groups)}): {shares}"


@dataclasses.dataclass
class Inspection:
    """The result of `inspect_model`; `str()` formats it as a table.

    Attributes:
        groups: list of `Group`s.
        frozen: list of `(layer name, reason)`.
        opaque: list of `OpaqueLayer`s, with the share of each resource: layers that
            no rule knows. They are counted, and nothing in them is pruned.
        cost: dict, resource -> cost of the dense model.
        share: dict, resource -> list with each group's share of the cost, 0 to
            1: what would be saved if the group lost all its channels.
        smallest: dict, resource -> smallest reachable share of the dense cost.
        opened: list of `OpenedLayer`s, each before those inside it.
        uncounted: dict, resource -> why it cannot be counted; such a resource is in
            none of the others.
        blocks: list of `InspectedBlock`s, with `remove_blocks=True`.
        kept_blocks: list of `(layer name, reason)`: branches beside a skip path that
            have to stay nevertheless, by their last layer.
    """

    groups: list
    frozen: list
    cost: dict
    share: dict
    smallest: dict
    opaque: list = dataclasses.field(default_factory=list)
    uncounted: dict = dataclasses.field(default_factory=dict)
    opened: list = dataclasses.field(default_factory=list)
    blocks: list = dataclasses.field(default_factory=list)
    kept_blocks: list = dataclasses.field(default_factory=list)

    @property
    def pruned(self) -> list[str]:
        """Names of the layers whose output channels may go."""
        found = (name for group in self.groups for name in group.producers)
        return [*dict.fromkeys(found)]

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Pairs of a layer's name and why its channels stay, or some of them."""
        opaque = {entry.layer: entry.reason for entry in self.opaque}
        return [*{**opaque, **dict(self.frozen)}.items()]

    def __repr__(self) -> str:
        smallest = ", ".join(
            f"{title_of(name)} down to {100 * share:.1f} %"
            for name, share in self.smallest.items()
        )
        counts = f"{len(self.groups)} groups, {len(self.skipped)} layers skipped"
        return f"<Inspection: {counts}; {smallest}>"

    def _repr_html_(self) -> str:
        names = [*self.share]
        groups = [
            (
                group.name,
                str(group.size),
                *(f"{100 * self.share[n][k]:.1f} %" for n in names),
                ", ".join(group.producers + group.through),
            )
            for k, group in enumerate(self.groups)
        ]
        head = ("group", "channels", *map(title_of, names), "coupled layers")
        costs = [
            (title_of(n), text_of(n, value), f"{100 * self.smallest[n]:.1f} %")
            for n, value in self.cost.items()
        ]
        blocks = [
            (
                block.name,
                *(f"{100 * block.share[n]:.1f} %" for n in names),
                ", ".join(block.groups),
            )
            for block in self.blocks
        ]
        stay = [(name, *("" for _ in names), why) for name, why in self.kept_blocks]
        last = ("block", *map(title_of, names), "groups, or why it stays")
        table = html_table([last, *blocks, *stay], left=(0, len(last) - 1))
        return html_block(
            "Inspection",
            html_table([("", "dense", "smallest reachable"), *costs]),
            html_table([head, *groups], left=(0, len(head) - 1)),
            table if blocks or stay else "",
            html_table([("skipped", "reason"), *self.skipped], left=(0, 1)),
        )

    def __str__(self) -> str:
        wide = {name: max(9, len(name) + 2) for name in self.share}
        shares = "".join(f"{name:>{wide[name]}s}" for name in self.share)
        lines = [f"{'group':32s}{'units':>6s}{shares}  coupled layers"]
        for k, group in enumerate(self.groups):
            cells = "".join(f"{self.share[n][k]:{wide[n]}.1%}" for n in self.share)
            layers = ", ".join(group.producers + group.through)
            lines.append(f"{group.name:32s}{group.size:6d}{cells}  {layers}")
        for name, value in self.cost.items():
            text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
            lines.append(
                f"{name}: {text}, smallest reachable share {self.smallest[name]:.2%}"
            )
        lines += [f"{name}: {why}" for name, why in self.uncounted.items()]
        lines += [f"block: {block}" for block in self.blocks]
        lines += [f"block that stays: {n} ({why})" for n, why in self.kept_blocks]
        lines += [f"frozen: {layer} ({reason})" for layer, reason in self.frozen]
        lines += [f"opaque: {entry}" for entry in self.opaque]
        lines += [f"opened: {entry}" for entry in self.opened]
        return "\n".join(lines)


def inspect_model(
    model: keras.Model,
    exclude: Exclude = None,
    channel_multiple: Multiple = "auto",
    min_channels: int = 1,
    resources: Sequence[str | Resource] = ("macs", "params"),
    remove_blocks: bool = False,
    input_shape: InputShape = None,
    filters: Exclude = None,
) -> Inspection:
    """Shows which channels are coupled, what is frozen and what can be saved.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        exclude: as in `prune_model`.
        channel_multiple: as in `prune_model`.
        min_channels: as in `prune_model`.
        resources: names of the resources to count, or `Resource`s.
        remove_blocks: as in `prune_model`.
        input_shape: as in `prune_model`.
        filters: as in `prune_model`.

    Returns:
        An `Inspection`.

    Raises:
        TypeError, ValueError: as `prune_model`; a model in which nothing can be
            pruned is not an error here. ValueError for an unknown resource.

    Example:

    ```python
    print(tf_lossprune.inspect_model(model))
    ```
    """
    graph, choices = flat_graph(model, (exclude, filters), input_shape)
    exclude, filters = choices
    space = SearchSpace(
        exclude,
        channel_multiple,
        min_channels,
        remove_blocks,
        input_shape,
        filters=filters,
    )
    problem = PruningProblem(graph, space)
    channels, smallest = problem.channel_graph, problem.smallest
    names, by_name = _resources(resources)
    uncounted = dict.fromkeys(names)
    measurer = LitertMeasurer()
    own = [(by_name.get(n) or RESOURCES[n]).with_measurer(measurer) for n in names]
    costs = cost_models(channels, names, own, uncounted)
    share = {}
    for name, cost in costs.items():
        saved = []
        for k in range(len(channels.groups)):
            without = problem.sizes.copy()
            without[k] = 0
            saved.append(1 - cost.total(without) / max(cost.dense, 1))
        share[name] = saved
    return Inspection(
        groups=channels.groups,
        frozen=channels.frozen,
        cost={name: plain(cost.dense) for name, cost in costs.items()},
        share=share,
        smallest={n: c.total(smallest) / max(c.dense, 1) for n, c in costs.items()},
        opaque=opaque_layers(channels, costs),
        uncounted={n: why for n, why in uncounted.items() if why},
        opened=_opened_layers(channels.graph, costs, problem.sizes),
        blocks=_blocks(problem, costs),
        kept_blocks=problem.found_blocks.kept,
    )


def _blocks(
    problem: PruningProblem, costs: dict[str, CostFunction]
) -> list[InspectedBlock]:
    """The blocks that may go, with what that saves."""
    found = []
    for block in problem.found_blocks.removable:
        without = problem.sizes.copy()
        without[block.groups] = 0
        share = {n: 1 - c.total(without) / max(c.dense, 1) for n, c in costs.items()}
        names = [problem.channel_graph.groups[k].name for k in block.groups]
        found.append(InspectedBlock(block.layers[0], names, block.layers, share))
    return found


def _opened_layers(
    graph: Graph, costs: dict[str, CostFunction], sizes: np.ndarray
) -> list[OpenedLayer]:
    """Lists the opened layers as a tree, with what is in each."""
    by_layer = {
        name: cost.per_layer(sizes)
        for name, cost in costs.items()
        if isinstance(cost, CostModel)
    }
    paths = [opened.name for opened in graph.opened]

    def inside(name: str, path: str) -> bool:
        return not path or name.startswith(f"{path}.")

    return [
        OpenedLayer(
            opened.name or graph.name,
            opened.kind,
            sum(opened.name != p and inside(opened.name, p) for p in paths),
            {
                name: sum(v for la, v in found.items() if inside(la, opened.name))
                / max(costs[name].dense, 1)
                for name, found in by_layer.items()
            },
        )
        for opened in graph.opened
    ]


def _resources(
    resources: Sequence[str | Resource],
) -> tuple[list[str], dict[str, Resource]]:
    """Names, and by name the resources among them that are no names."""
    own = {r.name: r for r in resources if isinstance(r, Resource)}
    names = [r.name if isinstance(r, Resource) else r for r in resources]
    unknown = [n for n in names if n not in RESOURCES and n not in own]
    if unknown:
        raise ValueError(
            f"Expected resources among {sorted(RESOURCES)}. "
            f"Received: {sorted(map(str, unknown))}"
        )
    return names, own
