"""Constraints: the budget surface and the augmented Lagrangian."""

import numpy as np
from absl.testing import parameterized

from examples import models
from tf_lossprune.allocation import AugmentedLagrangian, Projection
from tf_lossprune.graph import analyze
from tf_lossprune.resources import cost_models


def setup():
    channels = analyze(models.resnet20())
    costs = cost_models(channels)
    count = len(channels.groups)
    return [costs["macs"], costs["params"]], count, np.full(count, 0.02, "float32")


class ConstraintTest(parameterized.TestCase):
    @parameterized.parameters(0.9, 0.5, 0.125)
    def test_projection_is_on_the_surface(self, share):
        costs, count, smallest = setup()
        rng = np.random.default_rng(0)
        log_ratio = rng.normal(size=count).astype("float32") * 0.5
        limits = np.array([share, 1.0], "float32")
        ratios = np.array(Projection().ratios(log_ratio, costs, limits, smallest))
        self.assertAlmostEqual(float(costs[0].fraction(ratios)), share, delta=1e-3)
        free = ratios < 1
        relative = np.log(ratios) - log_ratio
        np.testing.assert_allclose(relative[free], relative[free][0], atol=1e-3)

    def test_projection_meets_the_tightest_of_several(self):
        costs, count, smallest = setup()
        limits = np.array([0.5, 0.1], "float32")
        zeros = np.zeros(count, "float32")
        ratios = np.array(Projection().ratios(zeros, costs, limits, smallest))
        self.assertAlmostEqual(float(costs[1].fraction(ratios)), 0.1, delta=1e-3)
        self.assertLess(float(costs[0].fraction(ratios)), 0.5)

    def test_projected_gradient_is_that_of_the_projected_loss(self):
        """Against finite differences of loss(ratios(log_ratio))."""
        costs, count, smallest = setup()
        rng = np.random.default_rng(1)
        log_ratio = (rng.normal(size=count) * 0.2).astype("float32")
        pull = rng.normal(size=count).astype("float32")
        limits = np.array([0.4, 1.0], "float32")
        constraint = Projection()

        def loss(values):
            found = constraint.ratios(values.astype("f"), costs, limits, smallest)
            return float(np.array(found, np.float64) @ pull)

        ratios = np.array(constraint.ratios(log_ratio, costs, limits, smallest))
        self.assertLess(ratios.max(), 1.0)
        found = np.array(
            constraint.gradient(ratios, pull, costs, limits, np.zeros(2, "f"))
        )
        for k in range(count):
            up, down = log_ratio.copy(), log_ratio.copy()
            up[k] += 0.05
            down[k] -= 0.05
            wanted = (loss(up) - loss(down)) / 0.1
            self.assertAlmostEqual(found[k], wanted, delta=0.01)

    def test_lagrangian_pushes_down_only_above_the_budget(self):
        costs, count, smallest = setup()
        constraint = AugmentedLagrangian()
        ratios = np.full(count, 0.8, "float32")
        share = float(costs[0].fraction(ratios))
        none = np.zeros(count, "float32")
        for limit, sign in ((share - 0.1, 1), (share + 0.1, 0)):
            limits = np.array([limit, 1.0], "float32")
            found = constraint.gradient(ratios, none, costs, limits, np.zeros(2, "f"))
            np.testing.assert_array_equal(np.sign(found), np.full(count, sign))

    def test_lagrangian_converges_to_the_budget_without_winding_up(self):
        costs, count, smallest = setup()
        constraint = AugmentedLagrangian()
        log_ratio = np.zeros(count, "float32")
        u = np.zeros(2, "float32")
        limits = np.array([0.3, 1.0], "float32")
        pull = np.full(count, -0.3, "float32")  # the loss wants all channels
        for _ in range(600):
            ratios = np.array(constraint.ratios(log_ratio, costs, limits, smallest))
            step = np.array(constraint.gradient(ratios, pull, costs, limits, u))
            log_ratio = log_ratio - 0.02 * step
            shares = np.array([float(c.fraction(ratios)) for c in costs], "f")
            u = np.array(constraint.next_multipliers(u, shares, limits))
        self.assertAlmostEqual(float(shares[0]), 0.3, delta=0.01)
        self.assertLessEqual(u.max(), constraint.limit)

    def test_config(self):
        found = AugmentedLagrangian(rho=3.0, rate=0.2, limit=0.1).get_config()
        self.assertEqual(found, {"rho": 3.0, "rate": 0.2, "limit": 0.1})
        with self.assertRaisesRegex(ValueError, "rho.*Received: 0"):
            AugmentedLagrangian(rho=0)
