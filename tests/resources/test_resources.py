"""Memory, file size and tables of the user's own."""

import os
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tf_lossprune.deploy import arena_bytes, convert_to_measure
from tf_lossprune.graph import analyze
from tf_lossprune.resources import PeakMemory, SizeBytes, cost_models

layers = keras.layers
makes_files = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="LiteRT takes TensorFlow"
)


def chain():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="b")(x)
    y = layers.Conv2D(4, 3, padding="same", name="c")(y)
    x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def attention_network():
    inputs = keras.Input((24, 24, 3))
    x = layers.Conv2D(32, 3, 2, padding="same", activation="relu")(inputs)
    x = layers.Reshape((144, 32))(x)
    x = layers.Add()([x, layers.MultiHeadAttention(8, 8)(x, x)])
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(10)(x))


class MemoryTest(parameterized.TestCase):
    def test_fullest_moment(self):
        memory = PeakMemory().function(analyze(chain()))
        # While c runs: its input b (8), its output (4), and a (4) for the sum.
        # The image (3) stays all the time.
        self.assertEqual(memory.dense, 4 * 64 * (3 + 4 + 8 + 4))
        # With one channel in b, the sum needs most: a, c and the result.
        self.assertEqual(memory.total([4, 1]), 4 * 64 * (3 + 12))
        self.assertEqual(memory.total([1, 8]), 4 * 64 * (3 + 1 + 8 + 1))
        small = PeakMemory("int8").function(analyze(chain()))
        self.assertEqual(small.dense, 64 * 19)

    def test_gradient_is_the_fullest_moments(self):
        memory = PeakMemory().function(analyze(models.resnet20(width=8)))
        rng = np.random.default_rng(0)
        for _ in range(5):
            ratios = rng.uniform(0.3, 1.0, len(memory.sizes)).astype("float32")
            found = np.array(memory.gradient_fraction(ratios))
            for k in range(len(ratios)):
                step = np.zeros_like(ratios)
                step[k] = 1e-4
                up, down = (float(memory.fraction(ratios + s)) for s in (step, -step))
                self.assertAlmostEqual((up - down) / 2e-4, found[k], delta=2e-2)
            exact = memory.total(ratios * memory.sizes) / memory.dense
            self.assertAlmostEqual(float(memory.fraction(ratios)), exact, delta=1e-4)

    @parameterized.parameters(0.7, 0.4)
    def test_counted_budget_holds(self, share):
        model = models.build("mobilenet_v2", width=8)
        budget = tf_lossprune.Budget(
            {"peak_memory_bytes": share}, resources=[PeakMemory(measure=False)]
        )
        pruned = tf_lossprune.prune_model(
            model, budget, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
        before, after = (
            PeakMemory().function(analyze(m)).dense for m in (model, compact)
        )
        self.assertLessEqual(after, share * before)
        self.assertGreater(after, 0.9 * share * before)

    @makes_files
    def test_the_arena_of_an_attention_network_keeps_its_budget(self):
        # Most of it are scores, which are tensors inside of a layer.
        model = attention_network()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "model.tflite")
        dense = arena_bytes(convert_to_measure(model, path, "fp32"))
        pruned = tf_lossprune.prune_model(
            model, {"peak_memory_bytes": 0.6}, method="uniform", channel_multiple=1
        )
        self.assertEqual(pruned.costs["peak_memory_bytes"].dense, dense)
        compact = tf_lossprune.strip_pruning(pruned)
        delivered = arena_bytes(convert_to_measure(compact, path, "fp32"))
        self.assertLessEqual(delivered, 0.6 * dense)
        self.assertGreater(delivered, 0.5 * dense)

    def test_scores_count(self):
        memory = PeakMemory().function(analyze(attention_network()))
        self.assertGreater(memory.dense, 4 * 2 * 8 * 144 * 144)

    def test_a_measurer_without_arenas_leaves_the_count(self):
        class Times(tf_lossprune.resources.Measurer):
            """Knows nothing of memory."""

        memory = PeakMemory().with_measurer(Times())
        self.assertFalse(memory.measured)
        self.assertIs(memory.bind(analyze(chain())), memory)

    def test_wrong_measure(self):
        with self.assertRaisesRegex(ValueError, "'auto' or a bool. Received"):
            PeakMemory(measure="always")


class SizeTest(parameterized.TestCase):
    @parameterized.parameters("fp32", "fp16", "int8")
    @pytest.mark.long  # one of int8 is in test_size.py
    @makes_files
    def test_estimate_is_close_and_the_budget_holds(self, precision):
        model = models.digits_resnet()
        models.randomize(model, 0)
        size = SizeBytes(precision)
        budget = tf_lossprune.Budget({"size_bytes": "40 kB"}, resources=[size])
        pruned = tf_lossprune.prune_model(
            model, budget, method="uniform", channel_multiple=1
        )
        size = pruned.budget.resource("size_bytes")
        measured = size.measure(tf_lossprune.strip_pruning(pruned), None)
        self.assertLessEqual(measured, 40_000)
        self.assertGreater(measured, 37_000)
        self.assertAlmostEqual(pruned.cost()["size_bytes"] / measured, 1.0, delta=0.05)

    def test_recuts_until_the_measured_file_fits(self):
        class Larger(SizeBytes):
            """Files turn out larger than estimated."""

            def measure(self, model, channels):
                return 5.0 * tf_lossprune.cost(model)["params"]

        budget = tf_lossprune.Budget(
            {"size_bytes": 0.5}, resources=[Larger(overhead=0.0)]
        )
        pruned = tf_lossprune.prune_model(
            models.digits_resnet(), budget, method="uniform", channel_multiple=1
        )
        self.assertBetween(pruned.recuts, 1, 4)
        measured = Larger().measure(tf_lossprune.strip_pruning(pruned), None)
        self.assertLessEqual(measured, 0.5 * pruned.costs["size_bytes"].dense)


@keras.saving.register_keras_serializable(package="tests")
def convolutions_only(layer):
    return (1.0, 0.0, 2.0, 3.0) if isinstance(layer, layers.Conv2D) else None


class TableTest(parameterized.TestCase):
    def test_counts_inputs_and_outputs(self):
        channels = analyze(chain())
        table = tf_lossprune.resources.LayerTable(
            "energy", {"b": (1, 10, 100, 1000), "head": (0, 0, 1, 0)}
        )
        energy = cost_models(channels, ["energy"], [table])["energy"]
        self.assertEqual(energy.dense, 4 * 8 + 10 * 4 + 100 * 8 + 1000 + 2)
        self.assertEqual(energy.total([3, 5]), 15 + 30 + 500 + 1000 + 2)

    def test_function_of_the_layer_is_saved(self):
        table = tf_lossprune.resources.LayerTable("energy", convolutions_only)
        budget = tf_lossprune.Budget({"energy": 0.5}, resources=[table])
        pruned = tf_lossprune.prune_model(chain(), budget, method="uniform")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.keras")
            pruned.save(path)
            again = keras.models.load_model(path)
        self.assertEqual(again.cost(), pruned.cost())
        self.assertLessEqual(
            pruned.cost()["energy"], 0.5 * pruned.costs["energy"].dense
        )

    @parameterized.parameters(
        ([1, 2], TypeError),
        ({"a": (1, 2, 3)}, ValueError),
        ({"a": (1, 2, 3, -4)}, ValueError),
    )
    def test_bad_tables(self, coefficients, kind):
        with self.assertRaisesRegex(kind, "Received: "):
            tf_lossprune.resources.LayerTable("energy", coefficients)

    def test_unknown_layers(self):
        table = tf_lossprune.resources.LayerTable("energy", {"nowhere": (1, 1, 1, 1)})
        budget = tf_lossprune.Budget({"energy": 0.5}, resources=[table])
        with self.assertRaisesRegex(ValueError, "at least one layer.*Received"):
            tf_lossprune.prune_model(chain(), budget)
