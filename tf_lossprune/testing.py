"""A contract test for the rules that users write for their own layers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.differences import relative_error
from tf_lossprune.errors import DifferenceError
from tf_lossprune.graph import Group, analyze
from tf_lossprune.graph.rules import find_rule
from tf_lossprune.prune import prune_model, strip_pruning
from tf_lossprune.training import PrunedModel

TRIALS = 5


def check_rule(
    layer: keras.layers.Layer,
    input_shape: Sequence[int],
    *,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> list[Group]:
    """Checks that a layer's rule is right, on random weights and random cuts.

    The layer is put between a dense layer that makes its channels (along the last
    axis) and one that reads its output. Random channels are zeroed by gates, then
    removed; both models must compute the same.

    Args:
        layer: unbuilt layer with one input, whose class has a rule.
        input_shape: tuple, shape of one sample without the batch dimension; all
            sizes known.
        tolerance: float, relative to the largest output value.
        seed: int, of weights, inputs and cuts.

    Returns:
        List of the `Group`s in the model, for tests of what can be pruned: `"made"`
        is the group of the layer's inputs, missing if the rule freezes them.

    Raises:
        TypeError: if the layer's class has no rule.
        DifferenceError: if the compact model computes something different.

    Example:

    ```python
    @tf_lossprune.rules.register_rule(LayerScale)
    def layer_scale(context, layer):
        channels = context.channels()
        if channels is None:
            context.output(0)
            return
        context.weight("gamma", {0: channels})
        context.output(context.input_labels[0])

    groups = tf_lossprune.testing.check_rule(LayerScale(), (8, 8, 6))
    assert [group.name for group in groups] == ["made"]
    ```
    """
    if find_rule(layer) is None:
        raise TypeError(
            "Expected a layer whose class has a rule (`register_rule`). "
            f"Received: {layer!r} (of type {type(layer).__name__})"
        )
    inputs = keras.Input(input_shape)
    x = keras.layers.Dense(input_shape[-1], name="made")(inputs)
    x = keras.layers.Dense(3, name="read")(layer(x))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = rng.uniform(0.5, 1.5, variable.shape)
        if "variance" not in variable.path:
            value *= rng.choice([-1.0, 1.0], variable.shape)
        variable.assign(value.astype("float32"))
    groups = analyze(model).groups
    x = rng.normal(size=(2, *input_shape)).astype("float32")
    if not groups:
        return groups
    pruned = prune_model(model, {"params": 1.0}, method="uniform", channel_multiple=1)
    _check_equal(layer, model(x), pruned(x, training=False), tolerance)
    for _ in range(TRIALS):
        close_at_random(pruned, rng)
        compact = strip_pruning(pruned, check=False)
        expected, actual = pruned(x, training=False), compact(x, training=False)
        _check_equal(layer, expected, actual, tolerance)
    return groups


def close_at_random(pruned: PrunedModel, rng: np.random.Generator) -> None:
    """Keeps random channels of a model whose widths are fixed: one at least each.

    Args:
        pruned: `PrunedModel`.
        rng: `numpy.random.Generator`.
    """
    kept = np.ones(pruned.channel_graph.num_units + 1, "float32")
    for group in pruned.groups:
        closed = rng.random(group.size) < 0.6
        closed[rng.integers(group.size)] = False
        kept[group.units[closed]] = 0.0
    pruned.search.kept.assign(kept)


def _check_equal(
    layer: keras.layers.Layer, expected: Any, actual: Any, tolerance: float
) -> None:
    error = relative_error(expected, actual)
    if not error <= tolerance:
        raise DifferenceError(
            "The compact model does not compute what the gated model does: the layer's "
            f"rule is wrong. Received: {layer.name!r} ({type(layer).__name__}) with a "
            f"relative difference of {error:.1e}, allowed {tolerance:.0e}"
        )
