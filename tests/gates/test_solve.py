"""The vectorised solve: constraint, gradients, variance."""

import math

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

from tf_lossprune.gates import (
    ClippedLinear,
    GaussianLog,
    GroupLayout,
    SigmoidLog,
    solve_steepness,
    solve_threshold,
)

FAMILIES = (SigmoidLog(), GaussianLog(), ClippedLinear())
SMOOTH = FAMILIES[:2]
REFERENCES = {
    SigmoidLog: lambda z: 1.0 / (1.0 + np.exp(-z)),
    GaussianLog: np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2.0))),
}


def make_layout(sizes):
    starts = np.concatenate([[1], 1 + np.cumsum(sizes)])
    groups = [np.arange(a, b) for a, b in zip(starts[:-1], starts[1:])]
    return GroupLayout(groups, int(sum(sizes)))


def folded_normal(layout, seed=0):
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=layout.num_units + 1)).astype("float32") + 1e-3


def brute_force_p(family, b, ratio, steepness):
    """One group in float64 by plain bisection on the threshold."""
    x = np.log(np.asarray(b, np.float64))
    low, high = x.min() - 50 / steepness, x.max() + 50 / steepness
    for _ in range(200):
        middle = 0.5 * (low + high)
        p = REFERENCES[type(family)](steepness * (x - middle))
        low, high = (middle, high) if p.mean() > ratio else (low, middle)
    return p


def jacobian(function, x):
    """The derivatives of `function` at `x`, by the backend."""
    x = ops.convert_to_tensor(x)
    if keras.backend.backend() == "jax":
        import jax

        return np.array(jax.jacobian(function)(x))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.jacobian(y, x).numpy()


class SolveTest(parameterized.TestCase):
    @parameterized.product(
        family=FAMILIES, steepness=(0.5, 4.0, 64.0, 1000.0), ratio=(0.01, 0.3, 0.999)
    )
    def test_sum_is_ratio_times_size(self, family, steepness, ratio):
        sizes = [3, 16, 64, 257]
        layout = make_layout(sizes)
        x = layout.rows(np.log(folded_normal(layout)))
        ratios = np.full(4, ratio, "float32")
        steep = np.full(4, steepness, "float32")
        p, _ = solve_threshold(family, layout, x, ratios, steep)
        p = np.array(p) * layout.valid
        np.testing.assert_allclose(p.sum(1), ratio * np.array(sizes), atol=1e-4 * 257)
        np.testing.assert_allclose(p.sum(1) / sizes, ratio, atol=1e-4)
        self.assertTrue((p >= 0).all() and (p <= 1).all())

    def test_equal_importances_share_the_ratio(self):
        layout = make_layout([5])
        x = layout.rows(np.zeros(6, "float32"))
        p, _ = solve_threshold(
            SigmoidLog(), layout, x, np.array([0.4], "f"), np.array([50.0], "f")
        )
        np.testing.assert_allclose(p, np.full((1, 5), 0.4), atol=1e-5)

    @parameterized.parameters(*SMOOTH)
    def test_gradient_by_ratio(self, family):
        layout = make_layout([12, 7])
        b = folded_normal(layout)
        x = layout.rows(np.log(b))
        ratios = np.array([0.7, 0.4], "float32")
        steep = np.array([3.0, 5.0], "float32")
        found = jacobian(
            lambda ratios: solve_threshold(family, layout, x, ratios, steep)[0], ratios
        )
        found = found * layout.valid[..., None]
        for k, size in enumerate((12, 7)):
            group = b[1:13] if k == 0 else b[13:20]
            up = brute_force_p(family, group, float(ratios[k]) + 1e-4, float(steep[k]))
            down = brute_force_p(
                family, group, float(ratios[k]) - 1e-4, float(steep[k])
            )
            wanted = (up - down) / 2e-4
            np.testing.assert_allclose(found[k, :size, k], wanted, atol=2e-3)
            np.testing.assert_allclose(found[k, :, k].sum(), size, rtol=1e-3)
            self.assertAlmostEqual(float(np.abs(found[k, :, 1 - k]).max()), 0.0)

    @parameterized.parameters(*SMOOTH)
    def test_gradient_by_importance(self, family):
        layout = make_layout([9])
        b = folded_normal(layout, 3)[1:]
        flat = np.concatenate([[1.0], b]).astype("float32")
        ratios, steep = np.array([0.6], "float32"), np.array([4.0], "float32")

        def probabilities(flat):
            x = layout.rows(ops.log(flat))
            return solve_threshold(family, layout, x, ratios, steep)[0]

        found = jacobian(probabilities, flat)[0, :, 1:]
        for j in range(9):
            up, down = b.astype(float).copy(), b.astype(float).copy()
            up[j] += 1e-4
            down[j] -= 1e-4
            wanted = brute_force_p(family, up, 0.6, 4.0)
            wanted = (wanted - brute_force_p(family, down, 0.6, 4.0)) / 2e-4
            np.testing.assert_allclose(found[:, j], wanted, rtol=5e-3, atol=5e-3)
        # The sum is held, so no importance can move it.
        np.testing.assert_allclose(found.sum(0), 0.0, atol=5e-3)

    @parameterized.product(family=FAMILIES, variance=(0.15, 0.05, 0.01))
    def test_steepness_gives_the_variance(self, family, variance):
        layout = make_layout([60, 40, 8])
        x = layout.rows(np.log(folded_normal(layout)))
        ratios = np.array([0.7, 0.5, 0.5625], "float32")  # 42, 20 and 4.5 channels
        steep = solve_steepness(family, layout, x, ratios, variance)
        p, _ = solve_threshold(family, layout, x, ratios, steep)
        found = np.array(layout.mean(p * (1 - p)))
        wanted = variance + np.array([0.0, 0.0, 0.25 / 8])
        np.testing.assert_allclose(found, wanted, rtol=0.03)

    def test_unreachable_variance_gives_the_nearest(self):
        layout = make_layout([64])
        x = layout.rows(np.log(folded_normal(layout)))
        ratios = np.array([0.99], "float32")
        steep = solve_steepness(SigmoidLog(), layout, x, ratios, 0.2)
        p, _ = solve_threshold(SigmoidLog(), layout, x, ratios, steep)
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
        p, _ = solve_threshold(
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
