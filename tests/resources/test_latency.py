"""Milliseconds from measured operations; times here come from a formula."""

import csv
import os
import pathlib
import tempfile
from unittest import mock

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from examples import models
from tf_lossprune.allocation import fit_widths
from tf_lossprune.deploy import LitertMeasurer, this_device
from tf_lossprune.graph import analyze
from tf_lossprune.resources import Latency, LatencyTable
from tf_lossprune.resources.measurer import Measurer
from tf_lossprune.resources.probe_list import COLUMNS
from tf_lossprune.resources.probes import (
    call_probes,
    executed_calls,
    has_kernel,
    network_probes,
    signature_class,
)
from tf_lossprune.surgery import flat_graph

layers = keras.layers
#: Converting whole networks takes a while.
FEW_NETWORKS = mock.patch("tf_lossprune.resources.network_fit.NETWORKS", ((0.5, 1),))


class Weights(Measurer):
    """Its files are as large as the weights, and some kilobytes more."""

    verbose = False

    def convert(self, model, path, precision):
        with open(path, "wb") as file:
            file.write(bytes(4 * model.count_params() + 8000))


def tiled(signature, given, made):
    """Kernels that compute 8 channels at once, at half the speed below 16."""
    if not has_kernel(signature_class(signature)):
        return 0.005 + 0.002 * made
    wide = -(-made // 8) * 8
    return 0.01 + 0.001 * given * wide * (1.0 if made >= 16 else 2.0)


def table_of(model, law=tiled, **device):
    """The table that a device with this law would give."""
    channels = analyze(model)
    rows, total = {}, 0.0
    for call in executed_calls(channels):
        for index, probe in enumerate(call_probes(channels, call)):
            key = probe.signature, probe.inputs, probe.outputs
            count, _ = rows.get(key, (0, 0))
            time = 0.001 + law(*key)
            rows[key] = count + (index == 0), time
            total += time - 0.001 if index == 0 else 0.0
    rows = [(*key, *value) for key, value in rows.items()]
    rows += [("overhead", 1, 1, 0, 0.001), ("network", 1, 1, 1, total + 0.001)]
    return LatencyTable(rows, device)


def of_this_law(model, law=tiled):
    """The law's time of a model, counted call by call."""
    channels = analyze(model)
    total = 0.001
    for call in executed_calls(channels):
        probe = call_probes(channels, call)[0]
        total += law(probe.signature, probe.inputs, probe.outputs)
    return total


class ProbesTest(parameterized.TestCase):
    @parameterized.parameters("resnet20", "mobilenet_v2", "squeeze_excite_net")
    def test_probes_compute_the_operation_at_their_widths(self, arch):
        channels = analyze(models.build(arch, width=8))
        for call in executed_calls(channels)[::5]:
            probes = call_probes(channels, call)
            self.assertLen({(p.inputs, p.outputs) for p in probes}, len(probes))
            for probe in (probes[0], probes[-1]):
                model = probe.build()
                self.assertEqual(type(model.layers[-1]), type(call.operation))
            self.assertEqual(probes[0].build().output.shape, call.outputs[0].shape)
            self.assertLessEqual(probes[-1].inputs, probes[0].inputs)

    def test_probes_of_mixed_precision_compute_in_float32_as_files_do(self):
        inputs = keras.Input((6, 6, 3))
        x = layers.Conv2D(8, 3, dtype="mixed_float16")(inputs)
        x = layers.Flatten()(ops.relu(x + 1.0))
        model = keras.Model(inputs, layers.Dense(4, dtype="mixed_float16")(x))
        probes = network_probes(analyze(model))
        with tempfile.TemporaryDirectory() as folder:
            for probe in {probe.signature: probe for probe, _ in probes}.values():
                built = probe.build()
                self.assertEqual({t.dtype for t in built.inputs}, {"float32"})
                path = os.path.join(folder, "probe.tflite")
                LitertMeasurer(False).convert_operation(built, path, "fp32")
                with open(path, "rb") as file:
                    self.assertGreater(len(file.read()), 0)

    def test_merged_calls_are_not_executed(self):
        names = [
            type(call.operation).__name__
            for call in executed_calls(analyze(models.build("resnet20", width=8)))
        ]
        self.assertNotIn("BatchNormalization", names)
        self.assertNotIn("ReLU", names)
        self.assertEqual(names.count("Add"), 9)
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3)(inputs)
        x = layers.Add()([x, layers.Conv2D(4, 3)(inputs)])
        # No kernel is before this one.
        x = layers.BatchNormalization()(x)
        model = keras.Model(inputs, layers.Conv2D(2, 1)(layers.ReLU()(x)))
        names = [type(c.operation).__name__ for c in executed_calls(analyze(model))]
        self.assertIn("BatchNormalization", names)

    @parameterized.named_parameters(
        ("relu", lambda x: layers.ReLU()(layers.Conv2D(4, 1)(x)), ["Conv2D"]),
        ("relu6", lambda x: layers.ReLU(6.0)(layers.Conv2D(4, 1)(x)), ["Conv2D"]),
        ("as_a_function", lambda x: ops.relu6(layers.Conv2D(4, 1)(x)), ["Conv2D"]),
        (
            "relu4",
            lambda x: layers.ReLU(4.0)(layers.Conv2D(4, 1)(x)),
            ["Conv2D", "ReLU"],
        ),
        (
            "leaky",
            lambda x: layers.ReLU(negative_slope=0.1)(layers.Conv2D(4, 1)(x)),
            ["Conv2D", "ReLU"],
        ),
        (
            "after_another",
            lambda x: layers.ReLU()(layers.Conv2D(4, 1, activation="sigmoid")(x)),
            ["Conv2D", "ReLU"],
        ),
        (
            "concatenated",
            lambda x: layers.ReLU()(layers.Concatenate()([x, x])),
            ["Concatenate", "ReLU"],
        ),
        (
            "pooled",
            lambda x: layers.ReLU()(layers.GlobalAveragePooling2D()(x)),
            ["GlobalAveragePooling2D", "ReLU"],
        ),
        ("summed", lambda x: layers.ReLU()(layers.Add()([x, x])), ["Add"]),
        (
            "reshaped",
            lambda x: layers.ReLU()(layers.Flatten()(layers.Conv2D(4, 1)(x))),
            ["Conv2D"],
        ),
    )
    def test_activations_are_merged_where_litert_does(self, network, executed):
        x = keras.Input((4, 4, 3))
        model = keras.Model(x, network(x))
        names = [type(c.operation).__name__ for c in executed_calls(analyze(model))]
        self.assertEqual(names, executed)

    def test_few_probes_where_bytes_are_moved(self):
        channels = analyze(models.build("mobilenet_v2", width=16))
        for call in executed_calls(channels):
            probes = call_probes(channels, call)
            if not has_kernel(type(call.operation).__name__):
                self.assertLessEqual(len(probes), 3)
            self.assertLessEqual(len(probes), 30)


class TableTest(parameterized.TestCase):
    def test_predicts_widths_it_never_saw(self):
        model = models.build("resnet20", width=16)
        table = table_of(model)
        self.assertAlmostEqual(table.predict(model), of_this_law(model), places=3)
        for share in (0.7, 0.4, 0.2):
            pruned = tf_lossprune.prune_model(
                model, {"macs": share}, method="uniform", channel_multiple=1
            )
            compact = tf_lossprune.strip_pruning(pruned, check=False)
            expected = of_this_law(compact)
            self.assertAlmostEqual(table.predict(compact) / expected, 1.0, delta=0.02)
            cost = Latency(table, measure=False).function(pruned.channel_graph)
            kept = [k for k, _ in pruned.kept_channels().values()]
            self.assertAlmostEqual(cost.total(kept) / expected, 1.0, delta=0.02)
            self.assertAlmostEqual(
                sum(cost.per_layer(kept).values()) + 0.001, cost.total(kept), places=6
            )

    def test_the_gradient_is_that_of_the_smooth_part(self):
        model = models.build("resnet20", width=8)
        cost = Latency(table_of(model)).function(analyze(model))
        ones = np.ones(len(cost.sizes), "float32")
        self.assertAlmostEqual(float(cost.fraction(ones)), 1.0, places=4)
        ratios = np.linspace(0.3, 0.9, len(ones)).astype("float32")
        found = np.array(cost.gradient_fraction(ratios))
        for k in range(len(ones)):
            step = np.zeros_like(ratios)
            step[k] = 1e-2
            up, down = (float(cost.fraction(ratios + s)) for s in (step, -step))
            self.assertAlmostEqual((up - down) / 2e-2, found[k], delta=1e-3)

    def test_files(self):
        model = models.digits_resnet(width=8)
        table = table_of(model, threads=2)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "t.json")
            again = LatencyTable.load(table.save(path))
            self.assertEqual(again.get_config(), table.get_config())
            sheet = os.path.join(folder, "probes.csv")
            with open(sheet, "w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                writer.writerows([("f.tflite", *row) for row in table.rows])
            again = LatencyTable.load(sheet, {"threads": 2, "phone": "x"})
            self.assertEqual(again.predict(model), table.predict(model))
            self.assertEqual(Latency(sheet).table.rows, table.rows)

    @parameterized.parameters("missing.json", "torn.json", "empty.csv", "blank.csv")
    def test_unreadable_files(self, name):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / name
            if name == "torn.json":
                path.write_text('{"rows": [')
            if name == "empty.csv":
                path.write_text("")
            if name == "blank.csv":  # nobody has filled in the times
                path.write_text(",".join(COLUMNS) + "\nf.tflite,overhead,1,1,0,\n")
            with self.assertRaisesRegex(ValueError, "(?s)latency table.*Received: "):
                Latency(str(path))

    def test_a_table_of_another_model(self):
        table = table_of(models.digits_resnet(width=8))
        budget = tf_lossprune.Budget({"latency_ms": 0.5}, resources=[Latency(table)])
        model = models.build("mobilenet_v1", width=8)
        with self.assertRaisesRegex(ValueError, "(?s)does not fit.*Received: "):
            tf_lossprune.prune_model(model, budget)

    def test_wrong_objects(self):
        with self.assertRaisesRegex(TypeError, "calibrate_latency.*Received: "):
            Latency({"a": 1})
        with self.assertRaisesRegex(TypeError, "measure.*Received: "):
            Latency(table_of(models.digits_resnet(width=8)), measure=3)


class BudgetTest(parameterized.TestCase):
    @parameterized.parameters(0.6, 0.35, "2 ms")
    def test_budget_holds_as_counted(self, limit):
        model = models.build("resnet20", width=16)
        latency = Latency(table_of(model))
        pruned = tf_lossprune.prune_model(
            model,
            tf_lossprune.Budget({"latency_ms": limit}, resources=[latency]),
            method="uniform",
            channel_multiple=1,
        )
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        dense = pruned.costs["latency_ms"].dense
        allowed = 2.0 if isinstance(limit, str) else limit * dense
        self.assertLessEqual(latency.table.predict(compact), allowed)
        self.assertGreater(latency.table.predict(compact), 0.9 * allowed)
        self.assertEqual(pruned.recuts, 0)

    def test_whole_tiles_are_taken_where_they_cost_less(self):
        model = models.build("resnet20", width=16)
        channels = analyze(model)
        cost = Latency(table_of(model)).function(channels)
        ones = np.ones(len(cost.sizes), int)
        widths = fit_widths(
            np.full(len(ones), 0.8), {"latency_ms": cost}, {"latency_ms": 0.75},
            ones, ones,
        )  # fmt: skip
        # 9 to 15 channels take as long as 24 would.
        self.assertFalse(((widths > 8) & (widths < 16)).any(), widths)

    def test_delivered_networks_are_measured_and_cut_again(self):
        """On this device time is the size of the file, which the table misses."""
        timed = []

        def measure(path):
            timed.append(os.path.getsize(path) / 1e4)
            return timed[-1]

        model = models.digits_resnet(width=8)
        table = table_of(model, law=lambda _, i, o: 0.1 * i * o)
        latency = Latency(table, measure, measurer=Weights())
        budget = tf_lossprune.Budget({"latency_ms": 0.5}, resources=[latency])
        pruned = tf_lossprune.prune_model(
            model, budget, method="uniform", channel_multiple=1
        )
        self.assertLessEqual(timed[-1], 0.5 * timed[0])
        self.assertAlmostEqual(pruned.costs["latency_ms"].dense, timed[0], places=4)
        self.assertGreaterEqual(pruned.recuts, 1)

    @parameterized.named_parameters(
        # Small networks are faster than predicted: the first cut takes too much.
        ("faster", lambda kilobytes: kilobytes - 20.0),
        # What lies above 25 kB is slower: the second cut takes too much.
        ("slower", lambda kilobytes: kilobytes + 30.0 * (kilobytes > 25.0)),
    )
    def test_what_was_cut_too_much_comes_back(self, law):
        timed = []

        def measure(path):
            timed.append(law(os.path.getsize(path) / 1e3))
            return timed[-1]

        model = models.digits_resnet(width=8)
        table = table_of(model, law=lambda _, i, o: i * o)
        latency = Latency(table, measure, measurer=Weights())
        budget = tf_lossprune.Budget({"latency_ms": 0.5}, resources=[latency])
        pruned = tf_lossprune.prune_model(
            model, budget, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
        limit, tried = 0.5 * timed[0], timed[2::2]
        kept = [time for time in tried if time <= limit]
        delivered = latency.measure(compact, pruned.channel_graph)
        self.assertEqual(delivered, max(kept))
        self.assertGreater(delivered, kept[0])

    def test_three_quarters_of_the_turns_keep_the_budget(self):
        """Of their shares of the dense time, which was 2 ms when it was wrapped."""
        model = models.digits_resnet(width=8)
        latency = Latency(
            table_of(model), measure=True, dense=2.0, measurer=LitertMeasurer()
        )
        turns = np.array([[1.0, 0.5], [1.0, 0.4], [3.0, 1.5], [1.0, 0.7], [1.0, 0.9]])
        with mock.patch(
            "tf_lossprune.deploy.measurer.times_of_turns", return_value=turns
        ):
            found = latency.measure(model, analyze(model))
        self.assertAlmostEqual(found, 0.7 * 2.0)

    def test_saved_with_the_model(self):
        model = models.digits_resnet(width=8)
        latency = Latency(table_of(model), measure=False)
        budget = tf_lossprune.Budget({"latency_ms": "50%"}, resources=[latency])
        pruned = tf_lossprune.prune_model(model, budget, method="uniform")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.keras")
            pruned.save(path)
            again = keras.models.load_model(path)
        self.assertEqual(again.cost(), pruned.cost())
        self.assertIsInstance(pruned.cost()["latency_ms"], float)
        self.assertIsInstance(pruned.cost()["macs"], int)


@keras.saving.register_keras_serializable(package="test_latency")
class OwnDense(layers.Layer):
    """No rule knows it, and since it hands on a function, it is not opened."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x):
        y = keras.ops.matmul(x, self.kernel)
        return keras.ops.vectorized_map(lambda v: 1.0 * v, y)


class Counting(layers.Layer):
    """It is opened; in inference, what it counts is a constant."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return x * ops.tanh(self.calls + 1.0)


class OpaqueTest(parameterized.TestCase):
    def test_what_is_computed_of_weights_alone_is_a_constant(self):
        x = keras.Input((4, 4, 3))
        y = Counting()(layers.Conv2D(4, 1)(x))
        model = keras.Model(x, layers.Conv2D(2, 1)(y))
        graph, _ = flat_graph(model)
        channels = analyze(graph)
        names = [type(c.operation).__name__ for c in executed_calls(channels)]
        self.assertEqual([n for n in names if n != "Multiply"], ["Conv2D"] * 2)
        self.assertGreater(table_of(graph).function(channels).dense, 0)

    def test_layers_without_a_rule_take_their_time(self):
        x = keras.Input((12, 6))
        y = layers.Dense(16, activation="relu")(x)
        y = layers.Dense(8)(y)
        y = OwnDense(256, name="own")(y)
        y = OwnDense(32, name="other")(y)
        y = keras.ops.reshape(layers.LSTM(8, return_sequences=True)(y), (-1, 8))
        y = keras.ops.reshape(layers.Dense(4)(y), (-1, 12 * 4))
        model = keras.Model(x, layers.Dense(2)(y))
        with FEW_NETWORKS:
            table = tf_lossprune.deploy.calibrate_latency(model, rounds=2)
        latency = Latency(table, measure=False)
        found = tf_lossprune.inspect_model(model, resources=[latency])
        shares = {e.layer.split("_")[0]: e.share["latency_ms"] for e in found.opaque}
        self.assertContainsSubset(["own", "other"], shares)
        for share in shares.values():
            self.assertGreater(share, 0)
        self.assertLess(sum(shares.values()) + found.smallest["latency_ms"], 2.0)
        self.assertGreater(found.cost["latency_ms"], 0)


class CalibrateTest(parameterized.TestCase):
    def test_on_this_machine(self):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(6, 3, name="a")(inputs)
        x = layers.Add()([x, layers.Conv2D(6, 3, activation="relu", name="b")(inputs)])
        model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
        table = tf_lossprune.deploy.calibrate_latency(model, rounds=2)
        self.assertTrue(Latency(table).measured)
        self.assertEqual(
            table.device,
            {**LitertMeasurer().device(), "precision": "fp32", "threads": 1},
        )
        self.assertContainsSubset(this_device(), table.device)
        self.assertGreater(table.predict(model), 0.0)
        bound = Latency(table, measurer=LitertMeasurer()).bind(analyze(model))
        self.assertGreater(bound.dense, 0.0)
        self.assertGreater(bound.measure(model, analyze(model)), 0.0)
        other = LatencyTable(table.rows, {**table.device, "processor": "another"})
        self.assertFalse(Latency(other).measured)

    def test_probes_for_another_device(self):
        model = models.digits_resnet(width=4)
        with tempfile.TemporaryDirectory() as folder:
            with FEW_NETWORKS:
                path = tf_lossprune.deploy.export_probes(model, folder)
            with open(path, newline="") as file:
                rows = list(csv.DictReader(file))
            for row in rows:
                self.assertTrue(os.path.exists(os.path.join(folder, row["file"])))
            counted = sum(int(row["count"]) for row in rows) - 1  # the network itself
            self.assertEqual(counted, len(executed_calls(analyze(model))))
            with self.assertRaisesRegex(ValueError, "milliseconds"):
                LatencyTable.load(path)
