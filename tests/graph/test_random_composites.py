"""Random composites behave as what they call, and are pruned exactly."""

import os

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from examples import models
from tests.graph.composite_graphs import composite_graph
from tests.graph.test_random_graphs import SETTINGS, check_model, compare
from tf_lossprune.graph import analyze, open_model
from tf_lossprune.surgery import copy_graph


def check_composites(rng):
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    model = composite_graph(rng)
    models.randomize(model, 1)
    graph = open_model(model)
    assert not graph.closed, graph.closed
    copy, _ = copy_graph(graph)
    assert copy.count_params() == model.count_params()
    choice = np.random.default_rng(0)
    x = choice.normal(size=(4, 8, 8, 3)).astype("float32")
    y = choice.normal(size=(4, 3)).astype("float32")
    compare(model(x, training=False), copy(x, training=False))
    compare(sum(model.losses), sum(copy.losses))
    if analyze(copy).groups:
        check_model(model)
    # Training moves the statistics and the random states.
    compare(model(x, training=True), copy(x, training=True))
    compare(model(x, training=True), copy(x, training=True))
    for one in (model, copy):
        one.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
        one.train_on_batch(x, y)
    compare(model(x, training=False), copy(x, training=False))


class RandomCompositesTest(parameterized.TestCase):
    def test_behave_as_what_they_call(self):
        check(0, 3)

    @parameterized.parameters(*range(2))
    @pytest.mark.long
    def test_behave_as_what_they_call_long(self, part):
        check(part + 1, int(os.environ.get("RANDOM_GRAPHS", 100)))


def check(part, count):
    @seed(part)
    @settings(max_examples=count, **SETTINGS)
    @given(st.randoms(use_true_random=False))
    def run(rng):
        check_composites(rng)

    run()
