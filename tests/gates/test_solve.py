"""The vectorised solve: constraint, derivative, variance."""

import math

import numpy as np
from absl.testing import parameterized

from tf_lossprune.gates import (
    GroupLayout,
    ratio_derivative,
    solve_steepness,
    solve_threshold,
)
from tf_lossprune.thresholds import ClippedLinear, GaussianLog, SigmoidLog

THRESHOLDS = (SigmoidLog(), GaussianLog(), ClippedLinear())
REFERENCES = {
    SigmoidLog: lambda z: 1.0 / (1.0 + np.exp(-z)),
    GaussianLog: np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2.0))),
    ClippedLinear: lambda z: np.clip(0.5 + z / 4.0, 0.0, 1.0),
}


def make_layout(sizes):
    starts = np.concatenate([[1], 1 + np.cumsum(sizes)])
    groups = [np.arange(a, b) for a, b in zip(starts[:-1], starts[1:])]
    return GroupLayout(groups, int(sum(sizes)))


def folded_normal(layout, seed=0):
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=layout.num_units + 1)).astype("float32") + 1e-3


def brute_force_p(threshold, b, ratio, steepness):
    """One group in float64 by plain bisection on the threshold."""
    x = np.log(np.asarray(b, np.float64))
    low, high = x.min() - 50 / steepness, x.max() + 50 / steepness
    for _ in range(200):
        middle = 0.5 * (low + high)
        p = REFERENCES[type(threshold)](steepness * (x - middle))
        low, high = (middle, high) if p.mean() > ratio else (low, middle)
    return p


class SolveTest(parameterized.TestCase):
    @parameterized.product(
        threshold=THRESHOLDS,
        steepness=(0.5, 4.0, 64.0, 1000.0),
        ratio=(0.01, 0.3, 0.999),
    )
    def test_sum_is_ratio_times_size(self, threshold, steepness, ratio):
        sizes = [3, 16, 64, 257]
        layout = make_layout(sizes)
        x = layout.rows(np.log(folded_normal(layout)))
        ratios = np.full(4, ratio, "float32")
        steep = np.full(4, steepness, "float32")
        p, *_ = solve_threshold(threshold, layout, x, ratios, steep)
        p = np.array(p) * layout.valid
        np.testing.assert_allclose(p.sum(1), ratio * np.array(sizes), atol=1e-4 * 257)
        np.testing.assert_allclose(p.sum(1) / sizes, ratio, atol=1e-4)
        self.assertTrue((p >= 0).all() and (p <= 1).all())

    def test_equal_importances_share_the_ratio(self):
        layout = make_layout([5])
        x = layout.rows(np.zeros(6, "float32"))
        p, *_ = solve_threshold(
            SigmoidLog(), layout, x, np.array([0.4], "f"), np.array([50.0], "f")
        )
        np.testing.assert_allclose(p, np.full((1, 5), 0.4), atol=1e-5)

    @parameterized.product(
        threshold=THRESHOLDS, steepness=(0.8, 3.0, 20.0), ratio=(0.15, 0.4, 0.85)
    )
    def test_derivative_is_that_of_a_finite_difference(
        self, threshold, steepness, ratio
    ):
        """How the solved probabilities move as the ratio moves, in float64."""
        sizes, step = (12, 7, 1), 1e-6
        layout = make_layout(sizes)
        b = folded_normal(layout)
        ratios = np.array([ratio, 1.0 - ratio, ratio], "float32")
        steep = np.full(3, steepness, "float32")
        solution = solve_threshold(
            threshold, layout, layout.rows(np.log(b)), ratios, steep
        )
        found = np.array(ratio_derivative(layout, solution.slope))
        first = 1
        for k, size in enumerate(sizes):
            group = b[first : first + size]
            first += size
            up, down = (
                brute_force_p(threshold, group, float(ratios[k]) + d, steepness)
                for d in (step, -step)
            )
            wanted = (up - down) / (2 * step)
            np.testing.assert_allclose(found[k, :size], wanted, rtol=2e-3, atol=2e-3)
            np.testing.assert_array_equal(found[k, size:], 0.0)
            # A ratio that grows by 1/C lets one more channel in.
            np.testing.assert_allclose(found[k].sum(), size, rtol=1e-4)

    def test_position_and_slope_say_where_the_probabilities_come_from(self):
        layout = make_layout([9, 4])
        x = np.array(layout.rows(np.log(folded_normal(layout, 3))))
        ratios, steep = np.array([0.6, 0.3], "f"), np.array([4.0, 2.0], "f")
        p, slope, position = map(
            np.array, solve_threshold(SigmoidLog(), layout, x, ratios, steep)
        )
        wanted = 1.0 / (1.0 + np.exp(-steep[:, None] * (x - position[:, None])))
        np.testing.assert_allclose(p, wanted, atol=1e-5)
        np.testing.assert_allclose(slope, p * (1 - p) * layout.valid, atol=1e-5)

    @parameterized.product(threshold=THRESHOLDS, variance=(0.15, 0.05, 0.01))
    def test_steepness_gives_the_variance(self, threshold, variance):
        layout = make_layout([60, 40, 8])
        x = layout.rows(np.log(folded_normal(layout)))
        ratios = np.array([0.7, 0.5, 0.5625], "float32")  # 42, 20 and 4.5 channels
        steep = solve_steepness(threshold, layout, x, ratios, variance)
        p, *_ = solve_threshold(threshold, layout, x, ratios, steep)
        found = np.array(layout.mean(p * (1 - p)))
        wanted = variance + np.array([0.0, 0.0, 0.25 / 8])
        np.testing.assert_allclose(found, wanted, rtol=0.03)

    def test_unreachable_variance_gives_the_nearest(self):
        layout = make_layout([64])
        x = layout.rows(np.log(folded_normal(layout)))
        ratios = np.array([0.99], "float32")
        steep = solve_steepness(SigmoidLog(), layout, x, ratios, 0.2)
        p, *_ = solve_threshold(SigmoidLog(), layout, x, ratios, steep)
        self.assertAlmostEqual(float(layout.mean(p * (1 - p))[0]), 0.0099, delta=2e-3)

    @parameterized.parameters(
        (1, 0.198, 62), (4, 0.120, 45), (16, 0.038, 14.5), (64, 0.011, 4.2)
    )
    def test_reference_variance(self, steepness, variance, channels):
        """METHOD's table at ratio 0.7; its importances are those of |N(1, 0.45)|."""
        layout = make_layout([64] * 40)
        rng = np.random.default_rng(0)
        b = np.abs(rng.normal(1.0, 0.45, layout.num_units + 1)) + 1e-6
        x = layout.rows(np.log(b).astype("float32"))
        p, *_ = solve_threshold(
            SigmoidLog(), layout, x, np.full(40, 0.7, "f"), np.full(40, steepness, "f")
        )
        slope = np.array(p * (1 - p))
        effective = slope.sum(1) ** 2 / (slope**2).sum(1)
        # The table is one draw of 64; 0.2 is about two of its standard errors.
        self.assertAlmostEqual(slope.mean(), variance, delta=0.2 * variance)
        self.assertAlmostEqual(effective.mean(), channels, delta=0.2 * channels)

    def test_layout_round_trip(self):
        layout = make_layout([2, 5, 1])
        flat = np.arange(9, dtype="float32")
        back = np.array(layout.flat(layout.rows(flat), first=0.0))
        np.testing.assert_array_equal(back, flat)
