"""Repair where what layers read changes: other statistics, blocks that went away."""

import importlib
from unittest import mock

import keras
import numpy as np
import pytest
from absl.testing import parameterized

from examples import models
from tests.graph.test_blocks import FAMILIES
from tf_lossprune.graph import analyze, open_model, removable_blocks
from tf_lossprune.surgery import cut
from tf_lossprune.training import repair
from tf_lossprune.training.nearer import Nearest

layers = keras.layers
formula = importlib.import_module("tf_lossprune.training.repair")


def images(count=96, shape=(8, 8, 3)):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def halved(channel_graph, blocks=()):
    """All but the first half of each group stays, and some blocks go."""
    keep = np.ones(channel_graph.num_units + 1, bool)
    for group in channel_graph.groups:
        keep[group.units[(group.size + 1) // 2 :]] = False
    for block in blocks:
        for k in block:
            keep[channel_graph.groups[k].units] = False
    return keep


def distance(model, compact, x):
    wanted, found = (m.predict(x, verbose=0) for m in (model, compact))
    return np.mean(np.square(wanted - found))


class RepairAfterChangesTest(parameterized.TestCase):
    @parameterized.parameters("layer", "root mean square", "group")
    def test_scales_and_kernels_are_numpys_least_squares(self, kind):
        """Of what the layers gave on what the compact network computes."""
        keras.utils.set_random_seed(0)
        norm = {
            "layer": lambda: layers.LayerNormalization(name="norm"),
            "root mean square": lambda: layers.RMSNormalization(name="norm"),
            "group": lambda: layers.GroupNormalization(2, name="norm"),
        }[kind]()
        inputs = keras.Input((5, 3))
        x = layers.Dense(8, activation="relu", name="stem")(inputs)
        x = layers.Dense(4, name="out")(norm(x))
        model = keras.Model(inputs, layers.Flatten()(x))
        models.randomize(model, 0)
        x = images(96, (5, 3))
        channel_graph = analyze(model)
        keep = np.ones(channel_graph.num_units + 1, bool)
        keep[channel_graph.groups[0].units[1::2]] = False
        (call,) = [c for c in channel_graph.graph.calls if c.operation is norm]
        kept = np.flatnonzero(keep[channel_graph.labels[id(call.inputs[0])]])
        dense = [
            keras.Model(inputs, model.get_layer(n).output) for n in ("norm", "out")
        ]
        wanted = [m.predict(x, verbose=0).reshape(96 * 5, -1) for m in dense]
        compact = cut(channel_graph, keep)

        def normalized():
            found = keras.Model(compact.input, compact.get_layer("norm").output)
            return found.predict(x, verbose=0).reshape(96 * 5, -1).astype("float64")

        before = normalized()
        scales = importlib.import_module("tf_lossprune.training.rescaling")
        with (
            mock.patch.object(formula, "RIDGES", (1e-7,)),  # one channel is redundant
            mock.patch.object(scales, "RIDGE", 0.0),
        ):
            done = repair(channel_graph, keep, compact, [x])
        self.assertEqual(done.rescaled, ["norm"])
        after = normalized()
        for k, channel in enumerate(kept):
            rows = before[:, k : k + 1]
            if kind != "root mean square":
                rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
            found = np.linalg.lstsq(rows, wanted[0][:, channel], rcond=None)[0]
            np.testing.assert_allclose(after[:, k], rows @ found, atol=1e-3)
        rows = np.concatenate([after, np.ones((len(after), 1))], axis=1)
        found = rows @ np.linalg.lstsq(rows, wanted[1], rcond=None)[0]
        ours = compact.predict(x, verbose=0).reshape(found.shape)
        least = np.mean(np.square(found - wanted[1]))
        self.assertLess(np.mean(np.square(ours - wanted[1])), 1.02 * least + 1e-6)

    def test_it_brings_convnext_nearer(self):
        self.check_it_brings_nearer("ConvNeXt")

    @pytest.mark.long
    def test_it_brings_a_post_norm_network_nearer(self):
        self.check_it_brings_nearer("post-norm")

    def check_it_brings_nearer(self, name):
        keras.utils.set_random_seed(0)
        model = FAMILIES[name][0]()
        models.randomize(model, 0)
        channel_graph = analyze(open_model(model))
        blocks = removable_blocks(channel_graph)
        x = images()
        for gone in ([], blocks[1:2]):
            keep = halved(channel_graph, gone)
            compact = cut(channel_graph, keep)
            before = distance(model, compact, x)
            done = repair(channel_graph, keep, compact, [x[:48], x[48:]])
            after = distance(model, compact, x)
            self.assertFalse(done.undone)
            self.assertLess(after, 0.7 * before)
            self.assertLessEqual(max(done.unexplained.values()), 1.0)

    def test_what_does_not_help_is_taken_back(self):
        keras.utils.set_random_seed(0)
        model = FAMILIES["pre-norm"][0]()
        channel_graph = analyze(model)
        keep = halved(channel_graph)
        compact = cut(channel_graph, keep)
        before = compact.get_weights()
        with mock.patch.object(Nearest, "distance", side_effect=[1.0, 1.1, 1.2]):
            done = repair(channel_graph, keep, compact, [images(16)])
        self.assertTrue(done.undone)
        for a, b in zip(before, compact.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
