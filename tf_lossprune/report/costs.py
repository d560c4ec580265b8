"""What each layer costs."""

from collections.abc import Iterable

import keras
import numpy as np

from tf_lossprune.graph import Graph, analyze
from tf_lossprune.resources import cost_models, plain
from tf_lossprune.surgery import flat_graph
from tf_lossprune.tables import aligned
from tf_lossprune.tables.figures import text_of, title_of
from tf_lossprune.types import InputShape


def cost_table(
    model: keras.Model,
    compact: keras.Model | None = None,
    *,
    resources: Iterable[str] = ("macs", "params"),
    input_shape: InputShape = None,
) -> str:
    """What each layer of a model costs, or of a dense and a compact one.

    Args:
        model: built functional or Sequential `keras.Model`.
        compact: another one with layers of the same names, for columns beside; None:
            the columns beside are shares of the whole.
        resources: names of registered resources that are sums over layers.
        input_shape: as in `tf_lossprune.cost`.

    Returns:
        A table of one line per layer that costs something, and the sum.

    Raises:
        TypeError, ValueError: as `tf_lossprune.cost`.

    Example:
        >>> print(cost_table(model, compact))
    """
    names = [*resources]
    models = (model,) if compact is None else (model, compact)
    order, found = [], []
    for each in models:
        graph, _ = flat_graph(each, input_shape=input_shape)
        found.append(_per_layer(graph, names, input_shape))
        order += [call.operation.name for call in graph.calls]
    costly = {layer for each in found for costs in each.values() for layer in costs}
    head = [""]
    for name in names:
        head += [title_of(name), "share" if compact is None else "compact"]
    rows = [tuple(head)]
    for layer in (*(la for la in dict.fromkeys(order) if la in costly), None):
        row = ["all" if layer is None else layer]
        for name in names:
            row += _cells(name, layer, [each[name] for each in found])
        rows.append(tuple(row))
    return aligned(rows)


def _per_layer(
    graph: Graph, names: list[str], input_shape: InputShape
) -> dict[str, dict[str, float]]:
    """Dict, resource -> layer -> cost."""
    channels = analyze(graph, input_shape=input_shape)
    sizes = np.array([group.size for group in channels.groups], int)
    costs = cost_models(channels, names)
    return {name: costs[name].per_layer(sizes) for name in names}


def _cells(name: str, layer: str | None, costs: list[dict[str, float]]) -> list[str]:
    """A cost, and beside it that of the second model, or its share of the whole."""
    values = [sum(c.values()) if layer is None else c.get(layer, 0.0) for c in costs]
    texts = [text_of(name, plain(value)) for value in values]
    if len(costs) == 1:
        share = values[0] / max(sum(costs[0].values()), 1e-12)
        texts.append(f"{100 * share:.1f} %")
    return texts
