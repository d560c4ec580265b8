"""Gated equals compact on random graphs of everything the rules know."""

import os

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import tf_lossprune
from examples import models
from tests.graph.random_graphs import random_graph
from tf_lossprune.graph import analyze
from tf_lossprune.testing import close_at_random

#: A prime number that no widths of these graphs add up to.
SAMPLES = 67

SETTINGS = {
    "deadline": None,
    # Shrinking takes minutes; what failed is printed without.
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def check_graph(rng, nodes):
    """Cuts random channels out of a random graph and compares the outputs."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    model = random_graph(rng, nodes)
    models.randomize(model, 1)
    if not analyze(model).groups:
        with np.testing.assert_raises(ValueError):
            tf_lossprune.prune_model(model, {"macs": 0.5})
        return
    check_model(model)


def check_model(model, seed=0):
    """The gated model equals the original, then the compact one."""
    choice = np.random.default_rng(seed)
    # Outside of a graph, Keras takes `[samples, 1]` for a bias that is added to
    # channels, if there are as many of these as samples.
    shapes = [(SAMPLES, *t.shape[1:]) for t in model.inputs]
    x = [choice.normal(size=shape).astype("float32") for shape in shapes]
    x = x if len(x) > 1 else x[0]
    expected = model(x, training=False)
    pruned = tf_lossprune.prune_model(
        model, {"macs": 1.0}, method="uniform", channel_multiple=1
    )
    compare(expected, pruned(x, training=False))
    close_at_random(pruned, choice)
    compact = tf_lossprune.strip_pruning(pruned, check=False)
    compare(pruned(x, training=False), compact(x, training=False))
    assert pruned.cost() == tf_lossprune.cost(compact)
    assert tf_lossprune.cost(compact)["params"] == compact.count_params()


def compare(expected, actual):
    """Within 1e-4 of the largest value of each output."""
    flat = zip(keras.tree.flatten(expected), keras.tree.flatten(actual), strict=True)
    for a, b in flat:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * max(np.abs(a).max(), 1e-3))


class RandomGraphsTest(parameterized.TestCase):
    """Each part draws its own graphs, so that several processes can share them."""

    def test_few_nodes(self):
        check_graphs(0, 18, st.integers(2, 8))

    @pytest.mark.long
    def test_few_nodes_again(self):
        check_graphs(1, 18, st.integers(2, 8))

    @parameterized.parameters(*range(20))
    @pytest.mark.long
    def test_many_nodes(self, part):
        check_graphs(
            part, int(os.environ.get("RANDOM_GRAPHS", 250)), st.integers(5, 40)
        )


def check_graphs(part, count, nodes):
    """Checks the graphs that one seed draws."""

    @seed(part)
    @settings(max_examples=count, **SETTINGS)
    @given(st.randoms(use_true_random=False), nodes)
    def check(rng, nodes):
        check_graph(rng, nodes)

    check()
