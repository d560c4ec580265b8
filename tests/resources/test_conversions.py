"""Conversions are few: one for each network, and estimates choose the networks."""

import gc
import os

import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tests.resources.test_latency import table_of
from tf_lossprune import deploy
from tf_lossprune.resources import Latency, PeakMemory, SizeBytes
from tf_lossprune.resources.measurer import Measurer
from tf_lossprune.settings import Settings


class Device(Measurer):
    """Counts conversions; its figures differ from what is counted.

    Args:
        error: float, by how much.
    """

    def __init__(self, error=0.0):
        self.error, self.converted, self.timed = error, [], []

    def convert(self, model, path, precision):
        self.converted.append(model.count_params())
        size = 4.0 * (1.0 + self.error) * model.count_params() + 4000
        with open(path, "wb") as file:
            file.write(bytes(int(size)))

    def arena(self, path):
        return int(40000 * (os.path.getsize(path) / 1e5) ** 0.5)

    def times(self, paths, threads, turns):
        self.timed += paths
        times = [os.path.getsize(path) ** (1.0 - self.error) for path in paths]
        return np.tile(times, (turns, 1))


class ConversionsTest(parameterized.TestCase):
    @parameterized.parameters(-0.1, 0.0, 0.05)
    def test_the_dense_network_once_and_two_delivered_ones(self, error):
        model, device = models.build("digits_resnet", width=8), Device(error)
        table = table_of(model)
        table.device["precision"] = "fp32"
        resources = [
            SizeBytes("fp32", measurer=device),
            PeakMemory("fp32", measure=True, measurer=device),
            Latency(table, measure=True, measurer=device),
        ]
        limits = {"size_bytes": 0.5, "peak_memory_bytes": 0.8, "latency_ms": 0.7}
        budget = tf_lossprune.Budget(limits, resources)
        pruned = tf_lossprune.prune_model(model, budget, method="uniform")
        tf_lossprune.strip_pruning(pruned)
        self.assertLessEqual(len(device.converted), 3)
        self.assertEqual(device.converted.count(model.count_params()), 1)
        used = pruned.usage().used
        self.assertLessEqual(max(used.values()), 1.0)
        self.assertGreater(max(used.values()), 0.8)

    @parameterized.parameters((2, False), (9, True))
    def test_a_disturbed_measurement_is_made_once_more(self, slow, is_given_up):
        model, device = models.build("digits_resnet", width=4), Device()
        table, times = table_of(model), device.times
        table.device["precision"] = "fp32"
        turns = iter([1.0, *[4.0] * slow, 1.0, 1.0])

        def disturbed(paths, threads, count):
            found = times(paths, threads, count)
            found[:, 1:] *= next(turns)
            return found

        device.times = disturbed
        latency = Latency(table, measure=True, measurer=device)
        budget = tf_lossprune.Budget({"latency_ms": 0.95}, [latency])
        groups = tf_lossprune.inspect_model(model).groups
        widths = {group.name: max(1, group.size // 2) for group in groups}
        options = {"method": "uniform", "widths": widths}
        if is_given_up:
            with self.assertRaises(tf_lossprune.InfeasibleBudgetError):
                tf_lossprune.prune_model(model, budget, **options)
        else:
            tf_lossprune.prune_model(model, budget, **options)
        self.assertLen(device.converted, 2)

    def test_resources_ask_one_measurer(self):
        limits = {"size_bytes": 0.5, "tflm_arena_bytes": 0.8}
        settings = Settings()
        asked = [settings.told(limits), settings.told({"size_bytes": 0.2})]
        asked.append(tf_lossprune.Budget.from_config(asked[0].get_config()))
        for budgets in (asked[:2], asked[2:]):
            found = [r.measurer for budget in budgets for r in budget.resources]
            self.assertGreater(len(found), 1)
            self.assertLen({id(measurer) for measurer in found}, 1)

    def test_files_go_with_their_network(self):
        device, model = Device(), models.build("digits_resnet", width=4)
        path = device.file(model, "fp32")
        self.assertEqual(device.file(model, "fp32"), path)
        self.assertNotEqual(device.file(model, "int8"), path)
        self.assertLen(device.converted, 2)
        self.assertTrue(os.path.exists(path))
        del model
        gc.collect()
        self.assertFalse(os.path.exists(path))


@pytest.mark.skipif(
    not deploy.LitertMeasurer().works_here(), reason="makes and runs LiteRT files"
)
def test_bytes_memory_and_milliseconds_of_one_file(monkeypatch, capsys):
    made, module = [], deploy.measurer

    def convert(model, path, precision):
        made.append(model.count_params())
        return deploy.convert_to_measure(model, path, precision)

    monkeypatch.setattr(module, "convert_to_measure", convert)
    model = models.build("digits_resnet", width=8)
    models.randomize(model, 0)  # a file holds equal biases once
    resources = [
        SizeBytes("int8"),
        PeakMemory("int8"),
        Latency(table_of(model, precision="int8"), measure=True),
    ]
    limits = {"size_bytes": 0.5, "peak_memory_bytes": 0.9, "latency_ms": "1 s"}
    budget = tf_lossprune.Budget(limits, resources)
    pruned = tf_lossprune.prune_model(model, budget, method="uniform")
    tf_lossprune.strip_pruning(pruned)
    assert len(made) <= 3 and made.count(model.count_params()) == 1
    told = f"Converting {model.name} to int8 in "
    assert capsys.readouterr().out.count(told) == len(made)
