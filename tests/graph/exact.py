"""What every opened network has to keep, also at the cut: results, losses, states."""

import warnings

import keras
import numpy as np
from keras import ops

import tf_lossprune
from examples.models import randomize
from tf_lossprune.graph import open_model
from tf_lossprune.surgery import copy_graph
from tf_lossprune.testing import close_at_random


def inputs_of(graph):
    rng = np.random.default_rng(0)

    def draw(t):
        shape = (4, *t.shape[1:])
        if "int" in t.dtype:
            return rng.integers(0, 9, shape).astype(t.dtype)
        return rng.normal(size=shape).astype(t.dtype)

    return keras.tree.map_structure(draw, graph.inputs)


def states(model):
    """The sorted values of what is not trained, but for random states."""
    found = [v for v in model.non_trainable_variables if "seed" not in v.path]
    values = [np.ravel(ops.convert_to_numpy(v)).astype(float) for v in found]
    return np.sort(np.concatenate([np.zeros(1), *values]))


def result(model, x, training):
    y = model(x, training=training)
    found = [ops.convert_to_numpy(v) for v in keras.tree.flatten(y)]
    return found, sum(ops.convert_to_numpy(v).sum() for v in model.losses)


def compare(one, other, x, modes, atol=1e-5):
    for training in modes:
        (a, first), (b, second) = (result(m, x, training) for m in (one, other))
        for p, q in zip(a, b, strict=True):
            np.testing.assert_allclose(p, q, 1e-4, atol * max(1, np.abs(p).max()))
        np.testing.assert_allclose(first, second, 1e-5, atol)


def check_opened(make, modes=(False, True), cut_modes=None):
    """Opens, gates and cuts a network, and compares all of them.

    Args:
        make: function that builds the network.
        modes: values of `training` to compare in.
        cut_modes: the same for the compact network; None: `modes`.

    Returns:
        The `Graph`, the pruned model and a compact one.
    """
    keras.utils.set_random_seed(0)
    model = make()
    randomize(model, 0)
    graph = open_model(model)
    x = inputs_of(graph)
    copy, _ = copy_graph(graph)
    assert copy.count_params() == model.count_params()
    compare(model, copy, x, modes)
    np.testing.assert_allclose(states(model), states(copy), 1e-5, 1e-5)
    before = states(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = tf_lossprune.prune_model(
            model, {"params": 1.0}, method="uniform", channel_multiple=1
        )
    np.testing.assert_array_equal(before, states(model))
    close_at_random(pruned, np.random.default_rng(1))
    compact = tf_lossprune.strip_pruning(pruned)
    assert compact.count_params() < model.count_params()
    compare(pruned, compact, x, modes if cut_modes is None else cut_modes)
    again = keras.Model.from_config(compact.get_config())
    again.set_weights(compact.get_weights())
    compare(compact, again, x, [False])
    return graph, pruned, compact
