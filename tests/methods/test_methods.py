"""Every method keeps the budget under one interface, and can be saved."""

import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from tests.methods.small import cross_entropy, images, small_net
from tf_lossprune import methods
from tf_lossprune.training import reestimate_statistics, repair

#: Settings that make the slow ones quick.
QUICK = {
    "admm": methods.Admm(interval=2),
    "amc": methods.Amc(episodes=4, warmup=2),
    "autocompress": methods.AutoCompress(trials=4),
    "netadapt": methods.NetAdapt(iterations=2, short_steps=2),
    "taylor": methods.Taylor(interval=2),
}
NAMES = sorted(methods.METHODS)
#: One of each kind; the others are much like one of them, and in the long target.
SHORT = ("bar", "group_lasso", "loss", "netadapt", "taylor", "uniform")


class MethodsTest(parameterized.TestCase):
    @parameterized.parameters(*SHORT)
    def test_keeps_the_budget(self, name):
        self.check_budget(name)

    @parameterized.parameters(*sorted({*NAMES} - {*SHORT}))
    @pytest.mark.long
    def test_others_keep_the_budget(self, name):
        self.check_budget(name)

    def check_budget(self, name):
        model, data = small_net(), images()
        before = [w.copy() for w in model.get_weights()]
        compact, result = tf_lossprune.compress(
            model,
            {"macs": 0.4, "params": 0.6},
            data,
            epochs=1,
            search_epochs=1,
            batch_size=16,
            optimizer=keras.optimizers.SGD(0.01),
            loss=cross_entropy(),
            metrics=["accuracy"],
            method=QUICK.get(name, name),
            channel_multiple=1,
            verbose=0,
        )
        dense, found = tf_lossprune.cost(model), tf_lossprune.cost(compact)
        self.assertLessEqual(found["macs"], 0.4 * dense["macs"])
        self.assertLessEqual(found["params"], 0.6 * dense["params"])
        used = [found["macs"] / dense["macs"] / 0.4, found["params"] / dense["params"]]
        self.assertGreater(max(used[0], used[1] / 0.6), 0.9)
        self.assertEqual(found["macs"], result.compact["macs"])
        for a, b in zip(before, model.get_weights()):
            np.testing.assert_array_equal(a, b)

    @parameterized.parameters(*NAMES)
    def test_settings_are_saved(self, name):
        method = QUICK.get(name) or methods.find_method(name)
        copy = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(method)
        )
        self.assertIs(type(copy), type(method))
        self.assertEqual(copy.get_config(), method.get_config())
        self.assertIs(type(methods.find_method(name)), type(method))

    @parameterized.parameters(("taylor",))
    def test_search_goes_on_after_loading(self, name):
        self.check_loading(name)

    @parameterized.parameters("admm", "bar", "ecc", "morphnet", "variational")
    @pytest.mark.long
    def test_search_goes_on_after_loading_others(self, name):
        self.check_loading(name)

    def check_loading(self, name):
        model, (x, y) = small_net(), images()
        pruned = tf_lossprune.prune_model(
            model,
            {"macs": 0.4},
            method=QUICK.get(name, name),
            schedule=tf_lossprune.Schedule(search=1.0, total_steps=12),
        )
        pruned.compile(keras.optimizers.SGD(0.01), cross_entropy())
        pruned.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
        self.assertEqual(pruned.phase, "search")
        with tempfile.TemporaryDirectory() as folder:
            pruned.save(f"{folder}/pruned.keras")
            loaded = keras.models.load_model(f"{folder}/pruned.keras")
        for copy in (pruned, loaded):
            copy.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
            self.assertEqual(copy.phase, "fixed")
        self.assertEqual(loaded.kept_channels(), pruned.kept_channels())
        np.testing.assert_array_equal(loaded.kept_units(), pruned.kept_units())
        for a, b in zip(pruned.search.weights, loaded.search.weights):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)

    @parameterized.parameters(
        (lambda: methods.BnScale(strength=0),),
        (lambda: methods.GroupLasso(strength=-1.0),),
        (lambda: methods.MorphNet(threshold=float("nan")),),
        (lambda: methods.Taylor(interval=1.5),),
        (lambda: methods.Taylor(decay=1.0),),
        (lambda: methods.Admm(rho="big"),),
        (lambda: methods.Bar(margin=1.0),),
        (lambda: methods.Ecc(rate=0),),
        (lambda: methods.Variational(strength=None),),
        (lambda: methods.NetAdapt(iterations=0),),
        (lambda: methods.AutoCompress(cooling=1.0),),
        (lambda: methods.Amc(episodes=-1),),
    )
    def test_bad_settings(self, make):
        with self.assertRaisesRegex((TypeError, ValueError), "Received: "):
            make()

    def test_bad_method(self):
        with self.assertRaisesRegex(ValueError, "Expected method as one of .*Received"):
            methods.find_method("best")
        with self.assertRaisesRegex(TypeError, "Expected method as one of .*Received"):
            methods.find_method(3)


class FitTest(parameterized.TestCase):
    """Methods that plan work in a plain `fit` too."""

    def test_plans_before_the_first_step(self):
        x, y = images()
        pruned = tf_lossprune.prune_model(
            small_net(), {"macs": 0.5}, method=methods.AutoCompress(trials=3)
        )
        pruned.compile("sgd", cross_entropy())
        pruned.fit(x, y, batch_size=16, epochs=1, verbose=0)
        self.assertEqual(pruned.phase, "fixed")
        compact = tf_lossprune.strip_pruning(pruned)
        dense = tf_lossprune.cost(pruned._template())
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], 0.5 * dense["macs"])

    def test_needs_targets(self):
        pruned = tf_lossprune.prune_model(small_net(), {"macs": 0.5}, method="amc")
        pruned.compile("sgd", cross_entropy())
        with self.assertRaisesRegex(ValueError, "needs training data.*Received: "):
            pruned.plan(images()[0])

    def test_needs_compile(self):
        pruned = tf_lossprune.prune_model(small_net(), {"macs": 0.5}, method="amc")
        with self.assertRaisesRegex(ValueError, "compile the pruned model.*Received"):
            pruned.plan(images())

    def test_evaluating_changes_nothing(self):
        from tf_lossprune.training.evaluation import Evaluation

        pruned = tf_lossprune.prune_model(
            small_net(), {"macs": 0.5}, method="amc", channel_multiple=1
        )
        pruned.compile("sgd", cross_entropy(), metrics=["accuracy"])
        before = [w.numpy().copy() for w in pruned.weights if "seed" not in w.path]
        groups = len(pruned.groups)
        for repairs in (False, True):
            evaluate = Evaluation(pruned, images(), 16, repairs=repairs)
            scores = {evaluate(np.full(groups, r)) for r in (1.0, 0.5, 0.2)}
            self.assertGreater(len(scores), 1)
            self.assertTrue(all(0.0 <= score <= 1.0 for score in scores))
        after = [w.numpy() for w in pruned.weights if "seed" not in w.path]
        for a, b in zip(before, after):
            np.testing.assert_array_equal(a, b)

    def test_networks_are_judged_as_they_are_delivered_after_a_repair(self):
        from tf_lossprune.training.evaluation import Evaluation

        x, y = images()
        pruned = tf_lossprune.prune_model(
            small_net(), {"macs": 0.5}, method="amc", channel_multiple=1
        )
        pruned.compile("sgd", cross_entropy())
        evaluate = Evaluation(pruned, (x, y), 16, None, 64, 64, repairs=True)
        ratios = np.full(len(pruned.groups), 0.5)
        score = evaluate(ratios)
        plain = Evaluation(pruned, (x, y), 16, None, 64, 64)(ratios)
        pruned.decide(dict(zip((g.name for g in pruned.groups), _halves(pruned))))
        compact = tf_lossprune.strip_pruning(pruned)
        batches = [x[i : i + 16] for i in range(0, len(x), 16)]
        repair(pruned.channel_graph, pruned.kept_units(), compact, batches)
        reestimate_statistics(compact, batches, 64)
        compact.compile(loss=cross_entropy())
        loss = compact.evaluate(x, y, verbose=0)
        self.assertAlmostEqual(score, np.exp(-loss), delta=0.02 * np.exp(-loss))
        self.assertNotAlmostEqual(score, plain, places=3)


def _halves(pruned):
    return [int(round(0.5 * group.size)) for group in pruned.groups]
