"""Wrong calls: the right error, a text that names the cure, and nothing changed.

A wrong call is a function of the user's model (small, compiled); `CALLS` lists them
by what they are about, with the class of the error and words of its text.
"""

import json
import math
import os
import tempfile
import types

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from tests.training import small
from tf_lossprune import deploy
from tf_lossprune.errors import UncountableError

layers = keras.layers
Infeasible = tf_lossprune.InfeasibleBudgetError
X, Y = small.data(8)
#: The modules that users need.
MODULES = {
    *("callbacks", "constraints", "deploy", "importances", "methods", "report"),
    *("resources", "rules", "samplers", "testing", "thresholds", "training"),
}


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


class Closed(OverriddenCall):
    """A functional model whose `call` has another path for training."""

    def call(self, inputs, training=None):
        return super().call(inputs) * (2.0 if training else 1.0)


class OwnStep(keras.Model):
    """A functional model that says itself how it trains."""

    def train_step(self, data):
        return super().train_step(data)


class Endless(keras.utils.PyDataset):
    """Data that never end."""

    num_batches = None

    def __getitem__(self, index):
        return X, Y


class Negative(tf_lossprune.Importance):
    """Scores that no threshold can be put on."""

    def score(self, channels):
        return np.arange(channels.num_units + 1.0) - 3.0


class Shapeless(tf_lossprune.Importance):
    """One score for all channels."""

    def score(self, channels):
        return np.ones(())


def tf_keras_like():
    """What a Keras 2 model looks like, without importing Keras 2."""
    klass = type("Functional", (), {"__module__": "tf_keras.src.engine.functional"})
    return klass()


def only_output():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Conv2D(4, 1)(inputs))


def unknown_size():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3)(inputs)
    return keras.Model(inputs, layers.Conv2D(4, 3)(x))


def one_class():
    """The output has one channel, and there is nothing else to prune."""
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(1)(inputs))


def one_channel():
    """Every group has a single channel."""
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(1)(inputs)))


def dead_layer():
    """A layer whose result nobody reads cannot be part of a functional model."""
    inputs = keras.Input((4,))
    x = layers.Dense(8)(inputs)
    layers.Dense(8)(inputs)
    return keras.Model(inputs, layers.Dense(3)(x))


def zero_weights(model):
    """The model with layers that have died: all of their weights are 0."""
    copy = keras.models.clone_model(model)
    copy.set_weights([np.zeros_like(w) for w in model.get_weights()])
    return copy


def ruined(model):
    copy = keras.models.clone_model(model)
    copy.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    return copy


def prune(model, budget=None, **options):
    budget = {"macs": 0.5} if budget is None else budget
    return tf_lossprune.prune_model(model, budget, **options)


def compress(model, train=(X, Y), **options):
    loss = "sparse_categorical_crossentropy"
    given = {"epochs": 1, "loss": loss, "verbose": 0, **options}
    return tf_lossprune.compress(
        model, given.pop("budget", {"macs": 0.5}), train, **given
    )


def frontier(model, budgets=(0.9, 0.5), train=(X, Y), **options):
    given = {"epochs": 1, "verbose": 0, **options}
    return tf_lossprune.compress_frontier(model, budgets, train, **given)


def fit(model, *args, compiled=True, **options):
    pruned = prune(model)
    if compiled:
        small.compile_model(pruned)
    return pruned.fit(*(args or (X, Y)), **{"verbose": 0, **options})


def with_model(make, text, kind=TypeError):
    return lambda model: prune(make()), kind, text


def by_litert(function, kind, cure):
    """A wrong call to what exists with TensorFlow; elsewhere the backend is wrong."""
    if keras.backend.backend() == "tensorflow":
        return function, kind, cure
    return function, ValueError, "KERAS_BACKEND=tensorflow"


def with_budget(budget, text, kind=ValueError):
    return lambda model: prune(model, budget), kind, text


def with_option(text, kind=ValueError, **options):
    return lambda model: prune(model, **options), kind, text


def with_schedule(text, kind=ValueError, **options):
    return lambda model: tf_lossprune.Schedule(**options), kind, text


def with_compress(text, kind=ValueError, **options):
    return lambda model: compress(model, **options), kind, text


def with_frontier(text, kind=ValueError, **options):
    return lambda model: frontier(model, **options), kind, text


def with_object(make, text, kind=ValueError):
    return lambda model: make(), kind, text


def saved(text, suffix):
    """A path in a folder that is gone soon, with this text in it."""
    path = os.path.join(tempfile.mkdtemp(), f"file{suffix}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


MODELS = {
    "none": with_model(lambda: None, "keras.Model"),
    "path": with_model(lambda: "model.keras", "load_model"),
    "layer": with_model(lambda: layers.Dense(2), "keras.Model"),
    "class": with_model(lambda: keras.Model, "keras.Model"),
    "list_of_layers": with_model(lambda: [layers.Dense(2)], "keras.Model"),
    "tf_keras": with_model(tf_keras_like, "from_tf_keras"),
    "subclassed": with_model(Handwritten, "Call it once", ValueError),
    "closed": with_model(Closed, "keras.Model(inputs, outputs)"),
    "overridden": with_model(OverriddenCall, "hidden layer", ValueError),
    "unbuilt": with_model(
        lambda: keras.Sequential([layers.Dense(2)]), "keras.Input", ValueError
    ),
    "empty": with_model(keras.Sequential, "keras.Input", ValueError),
    "only_output": with_model(only_output, "hidden layer", ValueError),
    "one_class": with_model(one_class, "hidden layer", ValueError),
    "one_channel": with_model(one_channel, "Raise the budget", Infeasible),
    "unknown_size": with_model(unknown_size, "keras.Input", UncountableError),
    "own_train_step": (
        lambda model: prune(OwnStep(model.inputs, model.outputs)),
        ValueError,
        "tf_lossprune.PrunedModel",
    ),
    "pruned_twice": (lambda model: prune(prune(model)), ValueError, "strip_pruning"),
    "ruined": (
        lambda model: prune(ruined(model), method="magnitude"),
        ValueError,
        "learning rate",
    ),
}

BUDGETS = {
    "none": (lambda m: tf_lossprune.prune_model(m, None), TypeError, "{'macs': 0.5}"),
    "number": with_budget(-0.5, "0.5 for one half"),
    "number_one": with_budget(1, "'100%'"),
    "number_bool": with_budget(True, "{'macs': 0.5}", TypeError),
    "string": with_budget("macs=0.5", "{'macs': 0.5}", TypeError),
    "list": with_budget([0.5], "{'macs': 0.5}", TypeError),
    "empty": with_budget({}, "'macs'"),
    "unknown": with_budget({"flops": 0.5}, "'macs'"),
    "key": with_budget({1: 0.5}, "'macs'"),
    "negative": with_budget({"macs": -0.1}, "0.5 for one half"),
    "zero": with_budget({"macs": 0.0}, "0.5 for one half"),
    "nan": with_budget({"macs": math.nan}, "0.5 for one half"),
    "infinite": with_budget({"macs": math.inf}, "0.5 for one half"),
    "over": with_budget({"macs": 1.5}, "share of the dense model"),
    "text": with_budget({"macs": "half"}, "in percent"),
    "unit": with_budget({"macs": "3 ms"}, "unit among"),
    "percent": with_budget({"macs": "150%"}, "up to 100%"),
    "no_percent": with_budget({"macs": "0%"}, "0.5 for one half"),
    "one": with_budget({"macs": 1}, "'100%'"),
    "small_amount": with_budget({"macs": 12}, "share of the dense model"),
    "amount_below_zero": with_budget({"macs": -1e6}, "0.5 for one half"),
    "latency_one": with_budget({"latency_ms": 1.0}, "'1 ms'"),
    "list_inside": with_budget({"macs": [0.5]}, "a number", TypeError),
    "none_inside": with_budget({"macs": None}, "a number", TypeError),
    "bool": with_budget({"macs": True}, "a number", TypeError),
    "second": with_budget({"macs": 0.5, "params": 2.0}, "share of the dense model"),
    "impossible": with_budget({"macs": 1e-5}, "Raise the budget", Infeasible),
    "zero_width": with_budget({"params": 0.01}, "smallest reachable", Infeasible),
    "too_few_bytes": by_litert(
        *with_budget({"size_bytes": "10B"}, "Raise the budget", Infeasible)
    ),
    "resources": with_object(
        lambda: tf_lossprune.Budget({"macs": 0.5}, resources=["macs"]),
        "Resources",
        TypeError,
    ),
}

OPTIONS = {
    "method": with_option("'loss'", method="magic"),
    "method_type": with_option("'loss'", TypeError, method=3),
    "schedule": with_option("Schedule", TypeError, schedule=0.5),
    "importance": with_option("'group_l2'", importance="size"),
    "importance_type": with_option("Importance", TypeError, importance=3),
    "importance_class": with_option(
        "Importance", TypeError, importance=tf_lossprune.importances.L1
    ),
    "importance_config": with_option(
        "'l1'", importance={"class_name": "L3", "config": {}}
    ),
    "importance_setting": with_option(
        "'first'", importance={"class_name": "l1", "config": {"members": "some"}}
    ),
    "importance_negative": with_option("at least 0", importance=Negative()),
    "importance_shape": with_option("channel unit", importance=Shapeless()),
    "threshold": with_option("did you mean 'sigmoid_log'", threshold="sigmoid_lgo"),
    "threshold_type": with_option("SoftThreshold", TypeError, threshold=0.5),
    "threshold_kind": with_option(
        "SoftThreshold", TypeError, threshold=tf_lossprune.samplers.HardSampler()
    ),
    "sampler": with_option("'deterministic'", sampler="soft"),
    "sampler_config": with_option("'hard'", sampler={"config": {}}),
    "constraint": with_option("'projection'", constraint="penalty"),
    "ratio_optimizer": with_option("optimizer", ratio_optimizer="adamant"),
    "ratio_optimizer_type": with_option("optimizer", TypeError, ratio_optimizer=0.1),
    "multiple": with_option("'auto'", channel_multiple=0),
    "multiple_type": with_option("'auto'", channel_multiple=2.5),
    "multiple_pattern": with_option("match", channel_multiple={"no_such_layer": 4}),
    "minimum": with_option("at least 1", min_channels=0),
    "minimum_type": with_option("at least 1", min_channels="2"),
    "minimum_too_large": with_option("min_channels", Infeasible, min_channels=1000),
    "exclude_type": with_option("regular expression", TypeError, exclude=5),
    "exclude_regex": with_option("regular expression", exclude="["),
    "exclude_nothing": with_option("match a layer", exclude="no_such_layer"),
    "exclude_all": with_option("exclude fewer", exclude=".*"),
    "exclude_by_function": with_option("exclude fewer", exclude=lambda layer: True),
    "seed": with_option("seed", TypeError, seed="zero"),
    "seed_below_zero": with_option("seed", ValueError, seed=-1),
}

OBJECTS = {
    "warmup": with_schedule("[0, 1)", warmup=-0.1),
    "search": with_schedule("(0, 1]", search=0.0),
    "phases": with_schedule("at most 1", warmup=0.6, search=0.6),
    "descent": with_schedule("(0, 1]", descent=0.0),
    "power": with_schedule("above 0", power=0),
    "start_variance": with_schedule("(0, 0.25]", start_variance=0.5),
    "end_variance": with_schedule("(0, 0.25]", end_variance=0.0),
    "total_steps": with_schedule("above 0", total_steps=0),
    "total_steps_type": with_schedule("whole number", total_steps=1.5),
    "phase_type": with_schedule("number", TypeError, search="half"),
    "statistics": with_schedule("at least 0", statistics_batches=-1),
    "importance_members": with_object(
        lambda: tf_lossprune.importances.L1(members="some"), "'first'"
    ),
    "importance_interval": with_object(
        lambda: tf_lossprune.importances.L1(interval=0), "at least 1"
    ),
    "temperature": with_object(
        lambda: tf_lossprune.samplers.ConcreteSampler(0.0), "above 0"
    ),
    "temperature_type": with_object(
        lambda: tf_lossprune.samplers.ConcreteSampler("warm"), "number", TypeError
    ),
    "rho": with_object(
        lambda: tf_lossprune.constraints.AugmentedLagrangian(rho=0), "above 0"
    ),
    "rho_type": with_object(
        lambda: tf_lossprune.constraints.AugmentedLagrangian(rho=None),
        "number",
        TypeError,
    ),
    "coefficients": with_object(
        lambda: tf_lossprune.resources.LayerTable("energy", [1, 2]), "dict", TypeError
    ),
    "three_coefficients": with_object(
        lambda: tf_lossprune.resources.LayerTable("energy", {"first": (1, 2, 3)}),
        "four",
    ),
    "precision": with_object(
        lambda: tf_lossprune.resources.SizeBytes("int4"), "'int8'"
    ),
    "latency_table": with_object(
        lambda: tf_lossprune.resources.Latency("no_such.json"), "export_probes"
    ),
    "latency_rows": with_object(
        lambda: tf_lossprune.resources.LatencyTable([], {}), "above 0"
    ),
    "latency_file": with_object(
        lambda: tf_lossprune.resources.LatencyTable.load(saved("{}", ".json")),
        "export_probes",
    ),
    "backup": with_object(
        lambda: tf_lossprune.callbacks.SafeBackupAndRestore(None), "folder", TypeError
    ),
    "backup_empty": with_object(
        lambda: tf_lossprune.callbacks.SafeBackupAndRestore(""), "folder"
    ),
}

ORDER = {
    "strip_a_plain_model": (tf_lossprune.strip_pruning, TypeError, "prune_model"),
    "strip_nothing": (
        lambda model: tf_lossprune.strip_pruning(None),
        TypeError,
        "prune_model",
    ),
    "strip_twice": (
        lambda model: tf_lossprune.strip_pruning(
            tf_lossprune.strip_pruning(prune(model, method="uniform"))
        ),
        TypeError,
        "prune_model",
    ),
    "fit_without_compile": (
        lambda model: fit(model, compiled=False),
        ValueError,
        "compile",
    ),
    "fit_without_data": (lambda model: fit(model, None), ValueError, "training data"),
    "fit_nothing": (
        lambda model: fit(model, X[:0], Y[:0]),
        ValueError,
        "training data",
    ),
    "fit_callbacks": (
        lambda model: fit(model, callbacks=["early stopping"]),
        TypeError,
        "keras.callbacks.Callback",
    ),
    "fit_callback_class": (
        lambda model: fit(model, callbacks=[keras.callbacks.TerminateOnNaN]),
        TypeError,
        "keras.callbacks.Callback",
    ),
    "call_to_train": (
        lambda model: prune(model)(X, training=True),
        ValueError,
        "decide()",
    ),
    "inputs_by_wrong_names": (
        lambda model: prune(model)({"x": X}),
        ValueError,
        "['features']",
    ),
    "decide_with_too_few_ratios": (
        lambda model: prune(model).decide([0.5]),
        ValueError,
        "2 groups",
    ),
    "decide_with_nan": (
        lambda model: prune(model).decide([math.nan, 0.5]),
        ValueError,
        "2 groups",
    ),
    "decide_with_scores_of_another_shape": (
        lambda model: prune(model).decide(importance=[1.0, 2.0]),
        ValueError,
        "finite scores",
    ),
    "begin_without_steps": (
        lambda model: prune(model).begin(0),
        ValueError,
        "total_steps",
    ),
    "snapshot_of_another_resource": (
        lambda model: prune(model).snapshot({"params": 0.5}),
        ValueError,
        "same resources",
    ),
    "load_foreign_weights": (
        lambda model: prune(model).load_weights(saved_weights(model)),
        ValueError,
        "prune_model",
    ),
}


def saved_weights(model):
    path = os.path.join(tempfile.mkdtemp(), "w.weights.h5")
    model.save_weights(path)
    return path


RUNS = {
    "no_epochs": with_compress("at least 1", epochs=0),
    "broken_epochs": with_compress("whole number", epochs=1.5),
    "no_search": with_compress("above 0", search_epochs=0),
    "search_too_long": with_compress("at most epochs", search_epochs=9),
    "search_type": with_compress("number", TypeError, search_epochs="half"),
    "distill": with_compress("(0, 1]", distill=2.0),
    "distill_type": with_compress("weight in (0, 1]", TypeError, distill="yes"),
    "temperature": with_compress("above 0", temperature=0),
    "statistics": with_compress("at least 0", statistics_batches=-1),
    "batch_size": with_compress("batch_size", batch_size=0),
    "optimizer": with_compress("optimizer", optimizer="sgdd"),
    "no_data": with_compress("at least one batch", train=(X[:0], Y[:0])),
    "no_labels": with_compress("(x, y)", train=(X,)),
    "array_alone": with_compress("(x, y)", TypeError, train=X),
    "data_none": with_compress("(x, y)", TypeError, train=None),
    "data_endless": with_compress("steps_per_epoch", train=Endless()),
    "lengths": with_compress("same number", train=(X, Y[:-1])),
    "callbacks": with_compress("Callback", TypeError, callbacks=["x"]),
    "option": with_compress("channel_multiple", TypeError, width=8),
    "impossible": with_compress("Raise the budget", Infeasible, budget={"macs": 1e-5}),
    "uncompiled": (
        lambda model: compress(keras.Model(model.inputs, model.outputs), loss=None),
        ValueError,
        "compile the model",
    ),
    "frontier_number": with_frontier("[0.5, 0.25]", TypeError, budgets=0.5),
    "frontier_empty": with_frontier("[0.5, 0.25]", budgets=[]),
    "frontier_mixed": with_frontier(
        "same resources", budgets=[{"macs": 0.5}, {"params": 0.5}]
    ),
    "frontier_crossed": with_frontier(
        "tighter",
        budgets=[{"macs": 0.5, "params": 0.9}, {"macs": 0.9, "params": 0.5}],
    ),
    "frontier_method": with_frontier("compress", method="uniform"),
    "frontier_widths": with_frontier("`compress`", widths={"first": 4}),
    "widths_search": with_compress(
        "no `search_epochs`", widths={"first": 4}, search_epochs=1
    ),
    "frontier_impossible": with_frontier(
        "Raise the budget", Infeasible, budgets=[0.5, 1e-5]
    ),
}

TOOLS = {
    "inspect_nothing": (
        lambda model: tf_lossprune.inspect_model("m.keras"),
        TypeError,
        "keras.Model",
    ),
    "inspect_multiple": (
        lambda model: tf_lossprune.inspect_model(model, channel_multiple=0),
        ValueError,
        "'auto'",
    ),
    "inspect_exclude": (
        lambda model: tf_lossprune.inspect_model(model, exclude="no_such"),
        ValueError,
        "match a layer",
    ),
    "cost_of_nothing": (
        lambda model: tf_lossprune.cost(None),
        TypeError,
        "keras.Model",
    ),
    "cost_of_unbuilt": (
        lambda model: tf_lossprune.cost(keras.Sequential([layers.Dense(1)])),
        ValueError,
        "keras.Input",
    ),
    "litert_of_pruned": (
        lambda model: tf_lossprune.to_litert(prune(model), "m.tflite"),
        ValueError,
        "strip_pruning",
    ),
    "litert_path": (
        lambda model: tf_lossprune.to_litert(model, "m.lite"),
        ValueError,
        ".tflite",
    ),
    "litert_path_type": (
        lambda model: tf_lossprune.to_litert(model, None),
        TypeError,
        ".tflite",
    ),
    "litert_model": (
        lambda model: tf_lossprune.to_litert("m.keras", "m.tflite"),
        TypeError,
        "keras.Model",
    ),
    "litert_precision": by_litert(
        lambda model: tf_lossprune.to_litert(model, "m.tflite", "int4"),
        ValueError,
        "'int8'",
    ),
    "litert_without_data": by_litert(
        lambda model: tf_lossprune.to_litert(model, "m.tflite", "int8"),
        ValueError,
        "representative_data",
    ),
    "litert_data": by_litert(
        lambda model: tf_lossprune.to_litert(model, "m.tflite", "int8", X[:, :3]),
        ValueError,
        "shape",
    ),
    "benchmark_path": (
        lambda model: deploy.benchmark_litert(None),
        TypeError,
        "path",
    ),
    "benchmark_missing": (
        lambda model: deploy.benchmark_litert("no_such.tflite"),
        ValueError,
        "existing file",
    ),
    "benchmark_other_file": (
        lambda model: deploy.benchmark_litert(saved("no model", ".tflite")),
        ValueError,
        "LiteRT file",
    ),
    "benchmark_runs": (
        lambda model: deploy.benchmark_litert("m.tflite", runs=0),
        ValueError,
        "runs",
    ),
    "benchmark_threads": (
        lambda model: deploy.benchmark_litert("m.tflite", threads="all"),
        TypeError,
        "whole number",
    ),
    "calibrate_precision": (
        lambda model: tf_lossprune.deploy.calibrate_latency(model, precision="int4"),
        ValueError,
        "'int8'",
    ),
    "calibrate_rounds": (
        lambda model: tf_lossprune.deploy.calibrate_latency(model, rounds=0),
        ValueError,
        "rounds",
    ),
    "calibrate_threads": (
        lambda model: tf_lossprune.deploy.calibrate_latency(model, threads=0),
        ValueError,
        "threads",
    ),
    "probes_of_nothing": (
        lambda model: tf_lossprune.deploy.export_probes("m.keras", saved("", "")),
        TypeError,
        "keras.Model",
    ),
    "reestimate_nothing": (
        lambda model: tf_lossprune.training.reestimate_statistics(model, None),
        TypeError,
        "batches",
    ),
    "reestimate_count": (
        lambda model: tf_lossprune.training.reestimate_statistics(
            model, [X], batches=0
        ),
        ValueError,
        "at least 1",
    ),
    "rule_of_an_object": (
        lambda model: tf_lossprune.rules.register_rule(layers.Dense(1)),
        TypeError,
        "layer class",
    ),
    "resource": (
        lambda model: tf_lossprune.resources.register_resource("macs"),
        TypeError,
        "Resource",
    ),
}

CALLS = {
    f"{topic}_{name}": call
    for topic, calls in {
        "model": MODELS,
        "budget": BUDGETS,
        "option": OPTIONS,
        "object": OBJECTS,
        "order": ORDER,
        "run": RUNS,
        "tool": TOOLS,
    }.items()
    for name, call in calls.items()
}

#: Looks odd, and is right.
ACCEPTED = {
    "dead_layer": lambda model: prune(dead_layer(), method="uniform"),
    "zero_weights": lambda model: prune(zero_weights(model), method="magnitude"),
    "strip_before_fit": lambda model: tf_lossprune.strip_pruning(prune(model)),
    "budget_of_everything": lambda model: prune(model, {"macs": 1.0}),
    "numpy_numbers": lambda model: prune(
        model,
        {"macs": np.float32(0.5)},
        channel_multiple=np.int64(1),
        min_channels=np.int64(1),
    ),
}


def everything(model):
    """What a user has put into a model: weights, architecture, compiled state."""
    return {
        "config": json.dumps(model.get_config(), sort_keys=True, default=str),
        "compiled": json.dumps(model.get_compile_config(), default=str),
        "trainable": [layer.trainable for layer in model.layers],
        "built": model.built,
        "iterations": int(model.optimizer.iterations),
        "rate": float(model.optimizer.learning_rate),
    }


class BadInputTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = small.compile_model(small.network())
        small.fit(cls.model, epochs=1)  # with an optimizer that has seen steps

    def setUp(self):
        super().setUp()
        self.before = everything(self.model)
        self.weights = [*self.model.get_weights(), *self._slots()]

    def tearDown(self):
        """Whatever was called: the user's model is as it was."""
        self.assertEqual(everything(self.model), self.before)
        after = [*self.model.get_weights(), *self._slots()]
        small.assert_same(self.weights, after)
        super().tearDown()

    def _slots(self):
        return [np.array(v) for v in self.model.optimizer.variables]

    @parameterized.named_parameters(*((name, *call) for name, call in CALLS.items()))
    def test_wrong(self, function, kind, cure):
        with self.assertRaises(kind) as caught:
            function(self.model)
        self.assertIs(type(caught.exception), kind)
        # Keras puts a line before and the arguments behind what a `call` raises.
        text = str(caught.exception).split("\n\nArguments received by")[0]
        text = text.removesuffix("\x1b[0m")
        self.assertIn(cure, text)
        # The last thing said is what was received.
        self.assertRegex(text, r"Received: \S[^\n]*$")

    @parameterized.named_parameters(*ACCEPTED.items())
    def test_right(self, function):
        function(self.model)

    def test_impossible_budget_names_the_smallest(self):
        with self.assertRaises(Infeasible) as caught:
            prune(self.model, {"macs": 1e-5}, channel_multiple=1)
        smallest = caught.exception.smallest["macs"]
        self.assertIn(f"{smallest:.4f}", str(caught.exception))
        inspected = tf_lossprune.inspect_model(self.model, channel_multiple=1)
        self.assertEqual(smallest, inspected.smallest["macs"])
        prune(self.model, {"macs": smallest}, channel_multiple=1, method="uniform")

    def test_fit_again_keeps_the_widths(self):
        """A second `fit` after the search fine-tunes on."""
        pruned = small.compile_model(prune(self.model))
        small.fit(pruned, epochs=2)
        kept = pruned.kept_channels()
        small.fit(pruned, epochs=1)
        self.assertEqual(pruned.kept_channels(), kept)
        self.assertEqual(pruned.phase, "fixed")

    def test_module_has_no_leftovers(self):
        for name in set(tf_lossprune.__all__) - MODULES:
            self.assertFalse(
                isinstance(getattr(tf_lossprune, name), types.ModuleType), name
            )
