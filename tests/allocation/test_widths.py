"""Whole widths: budgets hold and are used."""

import numpy as np
from absl.testing import parameterized

from examples import models
from tf_lossprune.allocation import (
    choose_units,
    fit_widths,
    minimum_widths,
    width_steps,
)
from tf_lossprune.graph import analyze, bottlenecks
from tf_lossprune.resources import cost_models
from tf_lossprune.resources.base import CostFunction

ARCHES = ("resnet20", "vgg16_bn", "mobilenet_v2")


class WidthsTest(parameterized.TestCase):
    @parameterized.product(arch=ARCHES, share=(0.9, 0.5, 0.125), step=(1, 4))
    def test_budget_holds_and_is_used(self, arch, share, step):
        channels = analyze(models.build(arch, width=16))
        costs = cost_models(channels)
        sizes = np.array([g.size for g in channels.groups])
        steps = width_steps(sizes, step)
        smallest = minimum_widths(sizes, steps, 1)
        rng = np.random.default_rng(0)
        for _ in range(3):
            ratios = rng.uniform(0.1, 1.0, len(sizes))
            widths = fit_widths(ratios, costs, {"macs": share}, steps, smallest)
            used = costs["macs"].total(widths) / costs["macs"].dense
            self.assertLessEqual(used, share)
            if step == 1:
                self.assertGreaterEqual(used, 0.97 * share)
            self.assertTrue((widths >= smallest).all() and (widths <= sizes).all())
            whole = (widths % steps == 0) | (widths == sizes)
            self.assertTrue(whole.all())
            # No group can take one more step.
            for k in np.flatnonzero(widths < sizes):
                more = widths.copy()
                more[k] = min(more[k] + steps[k], sizes[k])
                total = costs["macs"].total(more)
                self.assertGreater(total, share * costs["macs"].dense)

    def test_several_budgets_hold_at_once(self):
        channels = analyze(models.build("resnet20"))
        costs = cost_models(channels)
        sizes = np.array([g.size for g in channels.groups])
        ones = np.ones(len(sizes), int)
        limits = {"macs": 0.5, "params": 0.2}
        widths = fit_widths(np.ones(len(sizes)), costs, limits, ones, ones)
        for name, share in limits.items():
            self.assertLessEqual(costs[name].total(widths), share * costs[name].dense)

    def test_widths_follow_the_ratios(self):
        channels = analyze(models.build("vgg16_bn", width=16))
        costs = cost_models(channels)
        sizes = np.array([g.size for g in channels.groups])
        ones = np.ones(len(sizes), int)
        ratios = np.linspace(0.2, 0.9, len(sizes))
        share = float(costs["macs"].fraction(ratios.astype("float32")))
        widths = fit_widths(ratios, costs, {"macs": share}, ones, ones)
        np.testing.assert_allclose(widths / sizes, ratios, atol=1.5 / sizes.min())

    @parameterized.named_parameters(
        # Ratios 0.45 are 1.8, 3.6 and 7.2 channels.
        ("nothing", False, [1, 3, 7]),
        ("all", True, [2, 4, 7]),
        ("the first", [True, False, False], [2, 3, 7]),
    )
    def test_narrow_bottlenecks_round_up(self, held, wanted):
        sizes, ones = np.array([4, 8, 16]), np.ones(3, int)

        class Cost(CostFunction):
            """As many as are kept; no more fit than are wanted."""

            dense = 28.0

            def __init__(self):
                self.sizes = sizes

            def total(self, widths):
                return float(np.sum(widths))

            def fraction(self, ratios):
                return np.sum(ratios * sizes) / self.dense

            def gradient_fraction(self, ratios):
                return sizes / self.dense

        costs, share = {"channels": Cost()}, sum(wanted) / 28.0
        found = fit_widths(
            np.full(3, 0.45), costs, {"channels": share}, ones, ones, (), held
        )
        np.testing.assert_array_equal(found, wanted)

    def test_narrow_bottlenecks_keep_the_budget(self):
        channels = analyze(models.build("mobilenet_v2", width=8))
        costs = cost_models(channels)
        held = bottlenecks(channels)
        sizes = np.array([g.size for g in channels.groups])
        ones = np.ones(len(sizes), int)
        rounded_down = False
        for share in (0.25, 0.125, 0.0625):
            ratios = np.full(len(sizes), share**0.5)
            up = fit_widths(ratios, costs, {"macs": share}, ones, ones, (), held)
            self.assertLessEqual(costs["macs"].total(up), share * costs["macs"].dense)
            narrow = held & (ratios * sizes < 3.5)
            self.assertTrue(narrow.any())
            self.assertTrue((up[narrow] >= ratios[narrow] * sizes[narrow]).all())
            for less in (1.0, 0.9, 0.8):
                limit = {"macs": less * share}
                down = fit_widths(less**0.5 * ratios, costs, limit, ones, ones)
                wanted = less**0.5 * ratios * sizes
                rounded_down |= (down < np.floor(wanted + 1e-6) + 1)[narrow].any()
        self.assertTrue(rounded_down)

    def test_widths_that_fit_stay(self):
        """What a method gives as whole widths is not rounded."""
        channels = analyze(models.build("mobilenet_v2", width=8))
        costs = cost_models(channels)
        sizes = np.array([g.size for g in channels.groups])
        ones = np.ones(len(sizes), int)
        widths = np.random.default_rng(0).integers(1, sizes + 1)
        share = costs["macs"].total(widths) / costs["macs"].dense + 1e-9
        found = fit_widths(
            widths / sizes,
            costs,
            {"macs": share},
            ones,
            ones,
            bottlenecks=bottlenecks(channels),
        )
        np.testing.assert_array_equal(found, widths)

    def test_steps(self):
        sizes = [8, 16, 32, 64, 128, 255, 256, 512]
        found = width_steps(sizes, "auto")
        np.testing.assert_array_equal(found, [1, 2, 4, 8, 16, 16, 32, 32])
        found = width_steps(sizes, "auto", most=8)
        np.testing.assert_array_equal(found, [1, 2, 4, 8, 8, 8, 8, 8])
        np.testing.assert_array_equal(width_steps([3, 5], 4), [4, 4])
        found = minimum_widths([3, 16, 64], np.array([4, 4, 8]), 5)
        np.testing.assert_array_equal(found, [3, 8, 8])
        for bad in (0, -1, 1.5, "8", True, None):
            with self.assertRaisesRegex(ValueError, "channel_multiple=.*"):
                width_steps([8], bad)
            with self.assertRaisesRegex(ValueError, "min_channels="):
                minimum_widths([8], np.array([1]), bad)

    def test_choose_units_keeps_the_most_important(self):
        channels = analyze(models.build("digits_resnet"))
        importance = np.random.default_rng(0).uniform(size=channels.num_units + 1)
        widths = [g.size // 2 for g in channels.groups]
        keep = choose_units(importance, channels.groups, widths)
        self.assertTrue(keep[0])
        for group, width in zip(channels.groups, widths):
            kept = group.units[keep[group.units]]
            gone = group.units[~keep[group.units]]
            self.assertLen(kept, width)
            self.assertGreater(importance[kept].min(), importance[gone].max())
