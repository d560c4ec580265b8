"""What a model costs as it is."""

from collections.abc import Sequence
from typing import Any

import keras

from tf_lossprune.graph import analyze
from tf_lossprune.resources.base import Resource
from tf_lossprune.resources.model import cost_models, plain
from tf_lossprune.surgery import flat_graph
from tf_lossprune.types import InputShape


def known_costs(
    model: keras.Model,
    resources: Sequence[str] = ("macs", "params"),
    input_shape: InputShape = None,
    given: Sequence[Resource] = (),
) -> dict[str, Any]:
    """What a model costs, as far as it can be counted.

    Args:
        model: built functional or Sequential `keras.Model`.
        resources: names of the resources to count.
        input_shape: as in `prune_model`.
        given: `Resource`s that come before the registered ones of their names.

    Returns:
        Dict, resource -> number.
    """
    graph, _ = flat_graph(model, input_shape=input_shape)
    channels = analyze(graph, None, input_shape)
    costs = cost_models(channels, resources, given, dict.fromkeys(resources))
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
    graph, _ = flat_graph(model, input_shape=input_shape)
    channels = analyze(graph, None, input_shape)
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
