"""What is told of a network's cost is what is in its file."""

import importlib.util
import random
import unittest
import warnings

import pytest
from absl.testing import parameterized

import tf_lossprune
from benchmarks import counts, zoo
from examples import models
from tests import judge
from tests.graph.opaque_graphs import opaque_graph

#: In the short target; the others are in the long one.
SHORT_HUB = ("EfficientNetV2",)
GRAPHS, MORE_GRAPHS = 3, 153

needs_hub = unittest.skipIf(
    importlib.util.find_spec("keras_hub") is None, "keras-hub is not installed"
)


class CountsTest(parameterized.TestCase):
    def check(self, name):
        row = counts.counts(name)
        self.assertLessEqual(
            abs(row["macs"] - row["judged_macs"]), 0.01 * row["judged_macs"]
        )
        self.assertEqual(row["params"], row["counted_params"])
        if "asked" in row:
            self.assertLessEqual(row["judged_share"], 1.01 * row["asked"])
            self.assertAlmostEqual(row["told_share"], row["judged_share"], delta=0.01)

    @parameterized.parameters(*sorted(zoo.constructors()))
    @pytest.mark.long
    def test_network(self, name):
        self.check(name)

    @parameterized.parameters([(name,) for name in SHORT_HUB])
    @needs_hub
    def test_network_of_keras_hub(self, name):
        self.check(f"hub/{name}")

    @parameterized.parameters(*sorted(set(counts.HUB) - set(SHORT_HUB)))
    @pytest.mark.long
    @needs_hub
    def test_other_network_of_keras_hub(self, name):
        self.check(f"hub/{name}")


class OpaqueGraphsTest(parameterized.TestCase):
    @parameterized.parameters(*range(GRAPHS))
    def test_random_graph(self, seed):
        self.check(seed)

    @parameterized.parameters(*range(GRAPHS, GRAPHS + MORE_GRAPHS))
    @pytest.mark.long
    def test_other_random_graph(self, seed):
        self.check(seed)

    def check(self, seed):
        rng = random.Random(seed)
        model = opaque_graph(rng, rng.randrange(4, 14))
        models.randomize(model, seed)
        file = judge.convert(model)
        if judge.written_twice(file):
            self.skipTest("the converter wrote a product of this network twice")
        dense = judge.macs(file)
        # Of a product over one channel the converter makes an element-wise one.
        widths = {"channel_multiple": 1, "min_channels": 2}
        found = tf_lossprune.inspect_model(model, **widths)
        self.assertLessEqual(abs(found.cost["macs"] - dense), 0.01 * dense)
        self.assertEqual(found.cost["params"], model.count_params())
        least = found.smallest["macs"]
        if not found.groups or least > 0.98:
            return
        share = least + rng.uniform(0.02, 1.0) * (1.0 - least)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruned = tf_lossprune.prune_model(
                model,
                {"macs": min(share, 1.0)},
                method=rng.choice(["uniform", "magnitude"]),
                **widths,
            )
            compact = tf_lossprune.strip_pruning(pruned)
        try:
            delivered = judge.macs(compact)
        except judge.ConversionError:  # of a dense layer on one channel, for instance
            self.skipTest("the converter fails on what was delivered")
        self.assertLessEqual(delivered, 1.01 * share * dense)
        told = tf_lossprune.cost(compact)
        self.assertLessEqual(abs(told["macs"] - delivered), 0.01 * delivered)
        self.assertEqual(told["params"], compact.count_params())
