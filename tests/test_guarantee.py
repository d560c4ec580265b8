"""The budget is a promise: random models, budgets, multiples and exclusions."""

import random

import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tests.graph.random_graphs import random_graph
from tf_lossprune.graph import analyze
from tf_lossprune.resources import cost_models

NAMES = ("macs", "params", "peak_memory_bytes")
BUILDERS = [
    models.digits_resnet,
    lambda: models.build("mobilenet_v1", width=8),
    lambda: models.build("squeeze_excite_net"),
    lambda: models.build("resnet20", width=8),
]
#: Cases of each builder, then of four random graphs: 200 in all.
CASES = [10, 4, 10, 4, 43, 43, 43, 43]


def costs_of(model):
    """Every resource, counted on the model itself."""
    found = cost_models(analyze(model), NAMES)
    return {name: cost.dense for name, cost in found.items()}


def random_options(rng, model):
    producers = sorted({g.producers[0] for g in analyze(model).groups})
    excluded = rng.sample(producers, rng.choice([0, 0, 1, 2]) % len(producers))
    return {
        "channel_multiple": rng.choice([1, 1, 2, 3, 4, "auto"]),
        "min_channels": rng.choice([1, 1, 2, 3]),
        "exclude": [f"^{name}$" for name in excluded] or None,
    }


class GuaranteeTest(parameterized.TestCase):
    @parameterized.parameters(*range(len(CASES)))
    def test_every_budget_holds_and_none_is_left_unused(self, seed):
        rng = random.Random(seed)
        build = BUILDERS[seed] if seed < len(BUILDERS) else None
        model = build() if build else random_graph(rng, 12)
        while not analyze(model).groups:
            model = random_graph(rng, 12)
        models.randomize(model, seed)
        dense = costs_of(model)
        for _ in range(CASES[seed]):
            self.check(rng, model, dense)

    def check(self, rng, model, dense):
        options = random_options(rng, model)
        try:
            seen = tf_lossprune.prune_model(
                model, {"macs": 1.0}, method="uniform", **options
            )
        except ValueError as error:  # everything that could go is excluded
            self.assertIn("every channel is frozen", str(error))
            return
        budget = {}
        for name in rng.sample(NAMES, rng.choice([1, 1, 2, 3])):
            cost = cost_models(seen.channels, [name])[name]
            least = cost.total(seen.choice.smallest) / cost.dense
            budget[name] = min(1.0, least + rng.random() * (1.0 - least) + 1e-9)
        pruned = tf_lossprune.prune_model(
            model, budget, method=rng.choice(["uniform", "magnitude"]), **options
        )
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        delivered = costs_of(compact)
        for name, share in budget.items():
            self.assertLessEqual(delivered[name], share * dense[name] * (1 + 1e-12))
        self.assert_nothing_more_fits(pruned)

    def assert_nothing_more_fits(self, pruned):
        widths = np.array([kept for kept, _ in pruned.kept_channels().values()])
        sizes = np.array([group.size for group in pruned.groups])
        steps = pruned.choice.steps
        for k in np.flatnonzero(widths < sizes):
            larger = widths.copy()
            larger[k] = min((widths[k] // steps[k] + 1) * steps[k], sizes[k])
            fits = [
                pruned.costs[name].total(larger) <= share * pruned.costs[name].dense
                for name, share in pruned.shares.items()
            ]
            self.assertFalse(all(fits), f"{pruned.groups[k].name} could be wider")
