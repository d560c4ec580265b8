"""The samplers: means, and gradients of the expected loss."""

import numpy as np
from absl.testing import parameterized

from tf_lossprune.samplers import ConcreteSampler, DeterministicSampler, HardSampler


class SamplerTest(parameterized.TestCase):
    @parameterized.parameters(
        HardSampler(), ConcreteSampler(0.1), DeterministicSampler()
    )
    def test_mean_is_the_probability(self, sampler):
        p = np.repeat(np.array([0.1, 0.5, 0.9], "float32"), 20000)
        noise = np.random.default_rng(0).uniform(size=p.shape).astype("float32")
        gates, _ = sampler(p, noise)
        means = np.array(gates).reshape(3, -1).mean(1)
        np.testing.assert_allclose(means, [0.1, 0.5, 0.9], atol=0.02)

    def test_second_order_is_exact_for_quadratic_losses(self):
        """E[gradient] = dE[loss]/dp; the first-order estimator misses it."""
        rng = np.random.default_rng(0)
        n, p = 200000, np.array([0.2, 0.7], "float32")
        a, b, c = 1.3, -0.8, 0.5  # L = a m0^2 + b m0 m1 + c (m1 - 2)^2

        def slope(m):
            return np.stack(
                [2 * a * m[:, 0] + b * m[:, 1], b * m[:, 0] + 2 * c * (m[:, 1] - 2)], 1
            )

        exact = np.array([a + b * p[1], b * p[0] + c * ((1 - 2) ** 2 - 4)])
        noise = rng.uniform(size=(n, 2)).astype("float32")
        estimates = {}
        for second in (True, False):
            gates, factor = HardSampler(second)(np.tile(p, (n, 1)), noise)
            grads = slope(np.array(gates)) * np.array(factor)
            estimates[second] = grads.mean(0)
        np.testing.assert_allclose(estimates[True], exact, atol=0.02)
        self.assertGreater(np.abs(estimates[False] - exact).max(), 0.2)

    def test_concrete_slope_is_the_derivative(self):
        p, noise, sampler = np.float32(0.4), np.float32(0.3), ConcreteSampler(0.5)
        up, _ = sampler(p + 1e-3, noise)
        down, _ = sampler(p - 1e-3, noise)
        _, slope = sampler(p, noise)
        np.testing.assert_allclose((up - down) / 2e-3, slope, rtol=1e-2)

    def test_config(self):
        sampler = ConcreteSampler(0.7)
        again = ConcreteSampler.from_config(sampler.get_config())
        self.assertEqual(again.temperature, 0.7)
        with self.assertRaisesRegex(ValueError, "Received: 0"):
            ConcreteSampler(0)
