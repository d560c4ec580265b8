"""Attention as people write it: whole heads are cut, and what is left is exact."""

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tests import judge
from tests.graph.attention_networks import NETWORKS
from tests.graph.test_random_graphs import check_model
from tf_lossprune.testing import close_at_random

#: The groups besides the output's: size by the layer that makes them.
BLOCKS = {"first_up": 24, "second_up": 24, "patches": 12}
GROUPS = {
    "three layers": {"first_k": 3, "second_k": 3, **BLOCKS},
    "fused": {"first_qkv": 3, "second_qkv": 3, **BLOCKS},
    "split": {"first_qkv": 3, "second_qkv": 3, **BLOCKS},
    "per head": {"first_qkv": 3, "second_qkv": 3, **BLOCKS},
    "one head": {
        "patches": 8, "first_qkv": 8, "first_up": 16, "second_qkv": 8, "second_up": 16,
    },
    "shifted windows": {
        "patches": 8, "first_qkv": 2, "first_up": 16, "second_qkv": 2, "second_up": 16,
    },
    "spatial reduction": {"patches": 8, "reduce": 8, "kv": 2},
    "equations": {"embed": 8, "q": 3},
    "talking heads": {"embed": 8, "q": 3, "talk": 3, "talk_again": 3},
    "stock layers": {
        "embed": 8, "other": 6, "several": 3, "several/2": 4, "several/3": 5,
        "grouped": 2, "grouped/2": 3,
    },
    "one operation": {"embed": 12, "v": 3},
    "own weights": {"embed": 8, "first.kernel": 2, "second.kernel": 4, "last": 7},
    "without projections": {"embed": 8, "query": 6, "second_query": 5},
    "mixer": {"embed": 8, "up": 24},
}  # fmt: skip
if keras.backend.backend() == "jax":  # whose attention asks for dimensions of one size
    del GROUPS["stock layers"]["several/3"]


class AttentionTest(parameterized.TestCase):
    @parameterized.named_parameters((name, name) for name in NETWORKS)
    def test_whole_heads_are_cut_exactly(self, name):
        keras.utils.set_random_seed(0)
        model = NETWORKS[name]()
        models.randomize(model, 1)
        groups = tf_lossprune.inspect_model(model).groups
        self.assertEqual({g.name: g.size for g in groups}, GROUPS[name])
        for seed in range(2):
            check_model(model, seed)
        if keras.backend.backend() != "tensorflow" or name == "shifted windows":
            return  # which the converter refuses, for its axes
        pruned = tf_lossprune.prune_model(
            model, {"macs": 1.0}, method="uniform", channel_multiple=1
        )
        close_at_random(pruned, np.random.default_rng(5))
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        self.assertEqual(judge.macs(compact), tf_lossprune.cost(compact)["macs"])
        self.assertEqual(judge.macs(model), tf_lossprune.cost(model)["macs"])
