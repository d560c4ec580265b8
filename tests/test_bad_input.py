"""Wrong calls: the right error, a helpful text, and nothing changed."""

import math
import types

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models

layers = keras.layers


class Handwritten(keras.Model):
    """A subclassed model with its own `call`."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


class OverriddenCall(keras.Model):
    """A functional model whose `call` does something else."""

    def __init__(self):
        inputs = keras.Input((4,))
        super().__init__(inputs, layers.Dense(3)(inputs))

    def call(self, inputs):
        return super().call(inputs) * 2.0


def tf_keras_like():
    """What a Keras 2 model looks like, without importing Keras 2."""
    klass = type("Functional", (), {"__module__": "tf_keras.src.engine.functional"})
    return klass()


def only_output():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Conv2D(4, 1)(inputs))


MODELS = {
    "none": (lambda: None, TypeError, "keras.Model"),
    "string": (lambda: "model.keras", TypeError, "keras.Model"),
    "layer": (lambda: layers.Dense(2), TypeError, "keras.Model"),
    "class": (lambda: keras.Model, TypeError, "keras.Model"),
    "tf_keras": (tf_keras_like, TypeError, "tf_keras"),
    "subclassed": (Handwritten, TypeError, "functional"),
    "overridden": (OverriddenCall, TypeError, "functional"),
    "unbuilt": (lambda: keras.Sequential([layers.Dense(2)]), ValueError, "Input"),
    "nothing": (only_output, ValueError, "frozen"),
}

BUDGETS = {
    "none": (None, TypeError),
    "number": (0.5, TypeError),
    "string": ("macs=0.5", TypeError),
    "list": ([0.5], TypeError),
    "empty": ({}, ValueError),
    "unknown": ({"flops": 0.5}, ValueError),
    "key": ({1: 0.5}, ValueError),
    "negative": ({"macs": -0.1}, ValueError),
    "zero": ({"macs": 0.0}, ValueError),
    "nan": ({"macs": math.nan}, ValueError),
    "infinite": ({"macs": math.inf}, ValueError),
    "over": ({"macs": 1.5}, ValueError),
    "text": ({"macs": "half"}, ValueError),
    "unit": ({"macs": "3 ms"}, ValueError),
    "percent": ({"macs": "150%"}, ValueError),
    "one": ({"macs": 1}, ValueError),
    "small_amount": ({"macs": 12}, ValueError),
    "amount_below_zero": ({"macs": -1e6}, ValueError),
    "latency_without_calibration": ({"latency_ms": 4.0}, ValueError),
    "list_inside": ({"macs": [0.5]}, TypeError),
    "bool": ({"macs": True}, TypeError),
    "second": ({"macs": 0.5, "params": 2.0}, ValueError),
    "impossible": ({"macs": 1e-5}, tf_lossprune.InfeasibleBudgetError),
}

OPTIONS = {
    "method": ({"method": "magic"}, ValueError),
    "method_type": ({"method": 3}, ValueError),
    "schedule": ({"schedule": 0.5}, TypeError),
    "importance": ({"importance": "size"}, ValueError),
    "importance_type": ({"importance": 3}, TypeError),
    "family": ({"family": "sigmoid"}, TypeError),
    "draw": ({"draw": "hard"}, TypeError),
    "constraint": ({"constraint": "penalty"}, TypeError),
    "ratio_optimizer": ({"ratio_optimizer": "adam"}, TypeError),
    "multiple": ({"channel_multiple": 0}, ValueError),
    "multiple_type": ({"channel_multiple": 2.5}, ValueError),
    "minimum": ({"min_channels": 0}, ValueError),
    "minimum_too_large": ({"min_channels": 1000}, tf_lossprune.InfeasibleBudgetError),
    "exclude_type": ({"exclude": 5}, TypeError),
    "exclude_regex": ({"exclude": "["}, ValueError),
    "exclude_nothing": ({"exclude": "no_such_layer"}, ValueError),
    "exclude_all": ({"exclude": ".*"}, ValueError),
}

SCHEDULES = [
    {"warmup": -0.1},
    {"search": 0.0},
    {"warmup": 0.6, "search": 0.6},
    {"descent": 0.0},
    {"power": 0},
    {"start_variance": 0.5},
    {"end_variance": 0.0},
    {"total_steps": 0},
    {"total_steps": 1.5},
]


def cases(table):
    return [(name, *entry) for name, entry in table.items()]


class BadInputTest(parameterized.TestCase):
    def assert_helps(self, error, kind, text=""):
        self.assertIsInstance(error, kind)
        self.assertIn("Received: ", str(error))
        self.assertIn(text, str(error))

    @parameterized.named_parameters(*cases(MODELS))
    def test_model(self, make, kind, text):
        model = make()
        for function in (
            lambda: tf_lossprune.prune_model(model, {"macs": 0.5}),
            lambda: tf_lossprune.compress(
                model, {"macs": 0.5}, (np.zeros((1, 4)), np.zeros(1)), loss="mse"
            ),
        ):
            with self.assertRaises(kind) as caught:
                function()
            self.assert_helps(caught.exception, kind, text)

    @parameterized.named_parameters(*cases(BUDGETS))
    def test_budget(self, budget, kind):
        model = models.digits_resnet()
        before = model.get_weights()
        with self.assertRaises(kind) as caught:
            tf_lossprune.prune_model(model, budget)
        self.assert_helps(caught.exception, kind)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_impossible_budget_names_the_smallest(self):
        model = models.digits_resnet()
        with self.assertRaises(tf_lossprune.InfeasibleBudgetError) as caught:
            tf_lossprune.prune_model(model, {"macs": 1e-5}, channel_multiple=1)
        smallest = caught.exception.smallest["macs"]
        self.assertIn(f"{smallest:.4f}", str(caught.exception))
        inspected = tf_lossprune.inspect_model(model, channel_multiple=1)
        self.assertEqual(smallest, inspected.smallest["macs"])
        tf_lossprune.prune_model(
            model, {"macs": smallest}, channel_multiple=1, method="uniform"
        )

    @parameterized.named_parameters(*cases(OPTIONS))
    def test_options(self, options, kind):
        model = models.digits_resnet()
        with self.assertRaises(kind) as caught:
            tf_lossprune.prune_model(model, {"macs": 0.5}, **options)
        self.assert_helps(caught.exception, kind)

    @parameterized.parameters(*SCHEDULES)
    def test_schedule(self, **wrong):
        with self.assertRaises(ValueError) as caught:
            tf_lossprune.Schedule(**wrong)
        self.assert_helps(caught.exception, ValueError)

    def test_pruning_a_pruned_model(self):
        pruned = tf_lossprune.prune_model(models.digits_resnet(), {"macs": 0.5})
        with self.assertRaisesRegex(ValueError, "strip_pruning.*Received: "):
            tf_lossprune.prune_model(pruned, {"macs": 0.5})

    @parameterized.parameters(None, "x", 3)
    def test_stripping_something_else(self, thing):
        with self.assertRaisesRegex(TypeError, "prune_model.*Received: "):
            tf_lossprune.strip_pruning(thing)

    def test_stripping_a_plain_model(self):
        with self.assertRaisesRegex(TypeError, "prune_model.*Received: "):
            tf_lossprune.strip_pruning(models.digits_resnet())

    @parameterized.parameters(
        {"epochs": 0},
        {"epochs": 1.5},
        {"search_epochs": 0},
        {"search_epochs": 9},
        {"distill": 2.0},
        {"temperature": 0},
        {"loss": None},
        {"train": (np.zeros((0, 8, 8, 1)), np.zeros(0))},
        {"train": (np.zeros((4, 8, 8, 1)),)},
    )
    def test_compress(self, **wrong):
        arguments = {
            "train": (np.zeros((4, 8, 8, 1)), np.zeros(4)),
            "loss": "mse",
            "epochs": 2,
            **wrong,
        }
        with self.assertRaisesRegex(ValueError, "Received: "):
            tf_lossprune.compress(models.digits_resnet(), {"macs": 0.5}, **arguments)

    def test_module_has_no_leftovers(self):
        for name in tf_lossprune.__all__:
            self.assertFalse(
                isinstance(getattr(tf_lossprune, name), types.ModuleType), name
            )
