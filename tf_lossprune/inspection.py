"""What a model's channels look like before anything is pruned."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from tf_lossprune.allocation import minimum_widths, width_steps
from tf_lossprune.cost import RESOURCES, Resource, cost_models, opaque_layers, plain
from tf_lossprune.exclude import excluded_layers
from tf_lossprune.graph import analyze, removable_blocks, trace
from tf_lossprune.types import Exclude, InputShape, Multiple


@dataclasses.dataclass
class Inspection:
    """The result of `inspect_model`; `str()` of it is a table.

    Attributes:
        groups: list of `Group`s.
        frozen: list of `(layer name, reason)`.
        opaque: list of `OpaqueLayer`s, with the share of each resource: layers that
            no rule knows. They are counted, and nothing in them is pruned.
        cost: dict, resource -> cost of the dense model.
        share: dict, resource -> list with each group's share of the cost, 0 to
            1: what would be saved if the group lost all its channels.
        smallest: dict, resource -> smallest reachable share of the dense cost.
        uncounted: dict, resource -> why it cannot be counted; such a resource is in
            none of the others.
    """

    groups: list
    frozen: list
    cost: dict
    share: dict
    smallest: dict
    opaque: list = dataclasses.field(default_factory=list)
    uncounted: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
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
        lines += [f"frozen: {layer} ({reason})" for layer, reason in self.frozen]
        lines += [f"opaque: {entry}" for entry in self.opaque]
        return "\n".join(lines)


def inspect_model(
    model: keras.Model,
    exclude: Exclude = None,
    channel_multiple: Multiple = "auto",
    min_channels: int = 1,
    resources: Sequence[str | Resource] = ("macs", "params"),
    remove_blocks: bool = False,
    input_shape: InputShape = None,
) -> Inspection:
    """Tells which channels move together, what is frozen and what can be saved.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        exclude: as in `prune_model`.
        channel_multiple: as in `prune_model`.
        min_channels: as in `prune_model`.
        resources: names of the resources to count, or `Resource`s.
        remove_blocks: as in `prune_model`.
        input_shape: as in `prune_model`.

    Returns:
        An `Inspection`.

    Raises:
        TypeError, ValueError: as `prune_model`; a model in which nothing can be
            pruned is no error here. ValueError for an unknown resource.

    Example:

    ```python
    print(tf_lossprune.inspect_model(model))
    ```
    """
    excluded = {id(la) for la in excluded_layers(trace(model).layers, exclude)}
    channels = analyze(model, lambda layer: id(layer) in excluded, input_shape)
    names, own = _resources(resources)
    uncounted = dict.fromkeys(names)
    costs = cost_models(channels, names, own, uncounted)
    sizes = [group.size for group in channels.groups]
    producers = [group.producers for group in channels.groups]
    steps = width_steps(sizes, channel_multiple, producers)
    blocks = removable_blocks(channels) if remove_blocks else []
    smallest = minimum_widths(sizes, steps, min_channels, blocks)
    share = {}
    for name, cost in costs.items():
        saved = []
        for k in range(len(sizes)):
            without = list(sizes)
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
    )


def _resources(resources):
    """Names, and the resources among them that have settings of their own."""
    own = [r for r in resources if isinstance(r, Resource)]
    names = [r.name if isinstance(r, Resource) else r for r in resources]
    unknown = [
        n for n in names if n not in RESOURCES and n not in {r.name for r in own}
    ]
    if unknown:
        raise ValueError(
            f"Expected resources among {sorted(RESOURCES)}. "
            f"Received: {sorted(map(str, unknown))}"
        )
    return names, own


def known_costs(
    model: keras.Model,
    resources: Sequence[str] = ("macs", "params"),
    input_shape: InputShape = None,
) -> dict[str, Any]:
    """What a model costs, as far as it can be counted.

    Args:
        model: built functional or Sequential `keras.Model`.
        resources: names of the resources to count.
        input_shape: as in `prune_model`.

    Returns:
        Dict, resource -> number.
    """
    channels = analyze(model, input_shape=input_shape)
    costs = cost_models(channels, resources, optional=dict.fromkeys(resources))
    return {name: plain(found.dense) for name, found in costs.items()}


def cost(
    model: keras.Model, per_layer: bool = False, *, input_shape: InputShape = None
) -> dict[str, Any]:
    """Counts what a model costs.

    Args:
        model: built functional or Sequential `keras.Model`, dense or compact.
        per_layer: bool, whether to add the costs of each layer.
        input_shape: as in `prune_model`.

    Returns:
        A dict with `"macs"` (multiply-accumulates of convolutions and matrix
        products per sample, whatever layer they are in) and `"params"` (all stored
        weights), both ints; with `per_layer` also `"layers"`, a dict from layer
        name to such a dict.

    Raises:
        TypeError, ValueError: if the model cannot be traced, has unknown spatial
            sizes, or a layer whose operations cannot be counted.

    Example:

    ```python
    tf_lossprune.cost(model)["macs"]
    ```
    """
    channels = analyze(model, input_shape=input_shape)
    costs = cost_models(channels)
    sizes = [group.size for group in channels.groups]
    found: dict = {name: int(model.dense) for name, model in costs.items()}
    if per_layer:
        layers = {}
        for name, model in costs.items():
            for layer, value in model.per_layer(sizes).items():
                layers.setdefault(layer, {})[name] = value
        found["layers"] = layers
    return found
