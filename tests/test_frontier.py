"""Several budgets from one search."""

import pathlib
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tf_lossprune import report, team


def data(count=96):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 8, 8, 1)).astype("float32")
    return x, rng.integers(0, 10, count)


def network(stages=1):
    return models.build(
        "resnet", input_shape=(8, 8, 1), width=8, stages=stages, blocks=1
    )


def frontier(model, budgets, **options):
    x, y = data()
    return tf_lossprune.compress_frontier(
        model,
        budgets,
        (x, y),
        (x, y),
        batch_size=8,
        optimizer=keras.optimizers.SGD(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        verbose=0,
        jit_compile=keras.backend.backend() == "jax",
        channel_multiple=1,
        **options,
    )


class Steps(keras.callbacks.Callback):
    """Counts training steps."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


class FrontierTest(parameterized.TestCase):
    def test_each_budget_holds_and_each_model_learns(self):
        self.check_budgets(distill=False)

    @pytest.mark.long
    def test_each_budget_holds_and_each_model_learns_from_a_teacher(self):
        self.check_budgets(distill=True)

    def check_budgets(self, distill):
        model = network(stages=2)
        models.randomize(model, 0)
        before = model.get_weights()
        steps = Steps()
        budgets = [0.25, 0.7, 0.4]
        found = frontier(
            model,
            budgets,
            epochs=3,
            search_epochs=1.5,
            distill=distill,
            callbacks=[steps],
        )
        self.assertEqual(steps.count, 36)  # one search, one fine-tuning for all
        dense = tf_lossprune.cost(model)["macs"]
        for share, (compact, result) in zip(budgets, found, strict=True):
            macs = tf_lossprune.cost(compact)["macs"]
            self.assertLessEqual(macs, share * dense)
            self.assertGreater(macs, 0.93 * share * dense)
            self.assertEqual(result.compact["macs"], macs)
            self.assertEqual(result.budget, {"macs": share})
            self.assertIn("accuracy", result.compact)
            self.assertEqual(
                sum(g["kept"] for g in result.groups[:1]),
                compact.get_layer("stem_conv").filters,
            )
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_when_a_loose_budget_is_passed(self):
        self.check_passing(None, 0.38, 0.46)

    @pytest.mark.long
    def test_when_a_loose_budget_is_passed_in_a_given_schedule(self):
        self.check_passing(tf_lossprune.Schedule(), 0.25, 0.35)

    def check_passing(self, schedule, earliest, latest):
        """Later than by the usual schedule, where none is given."""
        passed = []

        class Spy(tf_lossprune.frontier.Snapshots):
            def _take(self, *arguments, **named):
                passed.append(self._step)
                super()._take(*arguments, **named)

        model = network()
        with mock.patch.object(tf_lossprune.frontier, "Snapshots", Spy):
            frontier(model, [0.5, 0.125], epochs=2, search_epochs=2, schedule=schedule)
        self.assertBetween(passed[0] / 24, earliest, latest)

    def test_a_search_on_frozen_weights_is_repaired_at_each_cut(self):
        model = network()
        schedule = tf_lossprune.Schedule(search_steps=20, frozen_search=True)
        with mock.patch("tf_lossprune.frontier.repair") as repair:
            found = frontier(model, [0.7, 0.4], epochs=2, schedule=schedule)
        self.assertEqual(repair.call_count, 2)
        for (_, result), share in zip(found, (0.7, 0.4)):
            self.assertLessEqual(result.compact["macs"], share * result.dense["macs"])

    def test_after_a_search_on_frozen_weights_twins_go_at_each_cut(self):
        """At a learning rate of 0, what the others can predict goes without a trace."""
        rng = np.random.default_rng(0)
        inputs = keras.Input((6,))
        x = keras.layers.Dense(8, "tanh")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        made, read = model.layers[1:]
        made.kernel.assign(np.tile(rng.normal(size=(6, 4)), 2))
        made.bias.assign(np.tile(rng.normal(size=4), 2))
        sizes = np.tile([3.0, 2.0, 1.0, 0.8], 2)  # the largest twins are of two pairs
        read.kernel.assign(sizes[:, None] * rng.normal(size=(8, 3)))
        x = rng.normal(size=(320, 6)).astype("float32")
        y = model.predict(x, verbose=0)
        budgets = [0.5, 0.75]
        with self.assertLogs("tf_lossprune", "INFO") as logs:
            found = tf_lossprune.compress_frontier(
                model,
                budgets,
                (x, y + rng.normal(size=y.shape)),
                epochs=5,
                batch_size=8,
                optimizer=keras.optimizers.SGD(0.0),
                loss="mse",
                distill=False,
                channel_multiple=1,
                verbose=0,
                jit_compile=keras.backend.backend() == "jax",
            )
        compared = [line for line in logs.output if "Cut and repaired" in line]
        self.assertGreaterEqual(len(compared), 6)
        for share, (compact, result) in zip(budgets, found):
            self.assertEqual(compact.layers[1].units, 8 * share)
            self.assertEqual(result.groups[0]["kept"], 8 * share)
            np.testing.assert_allclose(compact.predict(x, verbose=0), y, atol=1e-3)
            # As in `compress`: 40 of the 200 steps, not 0.3 of them.
            self.assertLen(result.history["search"]["loss"], 1)

    def test_members_do_not_disturb_each_other(self):
        """A model that learns beside others ends as if it had learned alone."""
        x, y = data(64)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        found = []
        for count in (1, 2):
            keras.utils.set_random_seed(0)
            members = [network() for _ in range(count)]
            for index, member in enumerate(members):
                models.randomize(member, index)
                member.compile("sgd", loss)
            learner = team.Team(members)
            learner.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
            learner.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
            found.append(members[0].get_weights())
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    def test_table_and_plot(self):
        results = [
            tf_lossprune.CompressionResult(
                dense={"macs": 1000, "params": 90, "accuracy": 0.9},
                compact={"macs": macs, "params": 50, "accuracy": accuracy},
                budget={"macs": macs / 1000},
                groups=[],
                history={},
                seconds={},
            )
            for macs, accuracy in ((500, 0.88), (250, 0.85))
        ]
        table = report.frontier_table(results)
        self.assertRegex(table.splitlines()[1], "dense .* 1.000 ")
        self.assertLen(table.splitlines(), 4)
        with tempfile.TemporaryDirectory() as folder:
            path = report.plot_frontier(results, pathlib.Path(folder) / "f.png")
            self.assertGreater(pathlib.Path(path).stat().st_size, 5000)
        with self.assertRaisesRegex(ValueError, "Received: "):
            report.frontier_table(results, metric="auc")

    @parameterized.parameters(
        ([], {}, "list of budgets"),
        ([0.5, {"params": 0.5}], {}, "same resources"),
        (
            [{"macs": 0.5, "params": 0.3}, {"macs": 0.4, "params": 0.5}],
            {},
            "tighter .* all",
        ),
        ([0.5], {"method": "uniform"}, "no search"),
        ([0.5, 0.001], {}, "cannot be met"),
    )
    def test_bad_budgets(self, budgets, options, message):
        with self.assertRaisesRegex(ValueError, f"(?s){message}.*Received: "):
            frontier(models.digits_resnet(width=8), budgets, **options)
