"""A search on frozen weights: until the cut nothing but the ratios moves."""

import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from tests.training import small
from tests.training.test_resume import SAFE, killed
from tests.training.test_step import STEPS
from tf_lossprune.surgery import cut
from tf_lossprune.training import between, reestimate_statistics, repair

SEARCH = 8  # steps, after 4 of warm-up; 4 more fine-tune


def optimizer():
    rate = keras.optimizers.schedules.CosineDecay(0.05, 8)
    return keras.optimizers.Adam(rate, weight_decay=0.01, use_ema=True)


def made(seed=0, warmup=0.25, optimizer=optimizer, **options):
    keras.utils.set_random_seed(seed)
    model = small.network(dropout=0.2)
    for weight in model.weights:
        values = np.random.default_rng(0).uniform(0.5, 1.5, weight.shape)
        weight.assign(weight.value * values.astype("float32"))
    given = {"schedule": schedule(warmup=warmup), **options}
    return small.compile_model(small.prune(model, **given), optimizer())


def schedule(warmup=0.25, **options):
    return tf_lossprune.Schedule(
        **{"warmup": warmup, "search_steps": SEARCH, "frozen_search": True, **options}
    )


def weights(pruned):
    return [ops.convert_to_numpy(w.value).copy() for w in pruned.network.weights]


class Watch(keras.callbacks.Callback):
    """What the weights, the optimizer and the ratios are after each step."""

    def __init__(self):
        super().__init__()
        self.weights, self.optimizer, self.ratios, self.rates = [], [], [], []

    def on_train_batch_end(self, batch, logs=None):
        self.model.sync_state()
        self.weights.append(weights(self.model))
        variables = self.model.optimizer.variables
        self.optimizer.append([ops.convert_to_numpy(v.value) for v in variables])
        learned = self.model.search.learned() or [self.model.search.importance]
        self.ratios.append(ops.convert_to_numpy(learned[0].value))
        rate = self.model.optimizer.learning_rate
        self.rates.append(float(ops.convert_to_numpy(rate)))


class FrozenSearchTest(parameterized.TestCase):
    def test_weights_statistics_and_optimizer_wait_for_the_cut(self):
        pruned, watch = made(), Watch()
        history = small.fit(pruned, callbacks=[watch]).history
        self.assertEqual(history["phase"], [0.0, 1.0, 1.0, 2.0])
        # The cut comes at the end of the last step of the search.
        for step in range(4, 4 + SEARCH - 1):
            small.assert_same(watch.weights[3], watch.weights[step])
            small.assert_same(watch.optimizer[3], watch.optimizer[step])
            self.assertEqual(watch.rates[step], watch.rates[3])
        self.assertTrue((watch.weights[2][0] != watch.weights[3][0]).any())
        ratios = np.array(watch.ratios[3 : 3 + SEARCH])
        self.assertTrue((np.abs(np.diff(ratios, axis=0)).max(axis=1) > 0).all())
        # Four steps of warm-up and four of fine-tuning, over the whole schedule.
        self.assertEqual(int(ops.convert_to_numpy(pruned.optimizer.iterations)), 8)
        self.assertAlmostEqual(watch.rates[-1], 0.0, places=6)
        self.assertTrue((watch.weights[-1][0] != watch.weights[-2][0]).any())

    def test_the_cut_is_repaired_with_the_dense_network_as_the_target(self):
        """At a learning rate of 0, `fit` gives the dense network, cut and repaired."""
        pruned = made(warmup=0.0, optimizer=lambda: keras.optimizers.SGD(0.0))
        small.fit(pruned, epochs=3)
        dense = made(schedule=schedule(statistics_batches=0)).channel_graph
        x, _ = small.data()
        images = [x[i : i + small.BATCH] for i in range(0, len(x), small.BATCH)]
        keep = pruned.kept_units()
        wanted = cut(dense, keep)
        repair(dense, keep, wanted, images, trained=pruned)
        reestimate_statistics(wanted, images)
        for a, b in zip(pruned.network.get_weights(), wanted.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        self.assertTrue(pruned.repairs)
        self.assertFalse(made(repair=None).repairs)

    @parameterized.named_parameters(
        ("frozen_search", {}, True),
        ("auto", {"importance": "auto"}, True),
        ("norms", {"importance": "group_l2"}, False),
        ("uniform", {"method": "uniform"}, True),
        ("widths", {"widths": {"hidden": 4}}, True),
        ("widths_norms", {"widths": {"hidden": 4}, "importance": "group_l2"}, False),
        ("magnitude", {"method": "magnitude"}, False),
        ("no_repair", {"method": "uniform", "repair": None}, False),
    )
    def test_of_twins_one_goes_whatever_their_weights(self, options, exact):
        rng = np.random.default_rng(0)
        inputs = keras.Input((6,))
        x = keras.layers.Dense(8, "tanh", name="hidden")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        # Each unit has a twin; two pairs have the largest weights.
        sizes = np.array([3.0, 2.0, 1.0, 0.8])
        kernel = rng.normal(size=(6, 4))
        made, read = model.layers[1:]
        made.kernel.assign(np.tile(kernel, 2))
        made.bias.assign(np.tile(rng.normal(size=4), 2))
        read.kernel.assign(np.tile(sizes, 2)[:, None] * rng.normal(size=(8, 3)))
        x = rng.normal(size=(128, 6)).astype("float32")
        y = model.predict(x, verbose=0)
        pruned = small.prune(model, schedule=schedule(warmup=0.0), **options)
        pruned.compile(keras.optimizers.SGD(0.0), "mse")
        pruned.fit(x, y, batch_size=16, epochs=2, verbose=0)
        self.assertEqual(pruned.widths["hidden"], 4)
        left = np.abs(pruned.predict(x, verbose=0) - y).max()
        self.assertEqual(left < 1e-3, exact)

    @parameterized.parameters("sample_weight", "class_weight", "validation_split")
    def test_networks_are_compared_on_what_fit_trains_on(self, name):
        """Targets without weight, or that are held out, have no say."""
        x, y = small.data()
        silent = np.arange(len(x)) >= len(x) // 2
        if name == "class_weight":
            silent = y > 1
            y, other = np.where(silent, 2, y), np.where(silent, 3, y)
            given = {"class_weight": {0: 1.0, 1: 1.0, 2: 0.0, 3: 0.0}}
        else:
            other = np.where(silent, (y + 1) % 4, y)
            weights = 1.0 - silent.astype("float32")
            values = {"sample_weight": weights, "validation_split": 0.5}
            given = {name: values[name]}
        self.assertEqual(self.scores(x, y, **given), self.scores(x, other, **given))
        self.assertNotEqual(self.scores(x, y), self.scores(x, other))

    def scores(self, x, y, **given):
        """Those of the networks that `fit` compares."""
        keras.utils.set_random_seed(0)
        pruned = small.compile_model(small.prune(small.network(), method="uniform"))
        with self.assertLogs("tf_lossprune", "INFO") as logs:
            pruned.fit(x, y, small.BATCH, verbose=0, **given)
        return [line for line in logs.output if "Cut and repaired" in line]

    @parameterized.parameters("uniform", "magnitude", "loss")
    def test_channels_that_were_asked_for_stay(self, method):
        model = small.network()
        pruned = small.compile_model(small.prune(model, method=method))
        scores = np.random.default_rng(0).uniform(size=pruned.search.importance.shape)
        pruned.decide(importance=scores)
        kept = pruned.kept_units()
        small.fit(pruned)
        np.testing.assert_array_equal(kept, pruned.kept_units())

    def test_a_killed_run_goes_on_bit_by_bit(self):
        self.check_killed(7)

    @pytest.mark.long
    def test_a_run_killed_in_the_fine_tuning_goes_on_bit_by_bit(self):
        self.check_killed(14)

    def check_killed(self, steps):
        whole = made()
        small.fit(whole)
        with tempfile.TemporaryDirectory() as folder:
            killed(steps, SAFE(folder), pruned=made())
            resumed = made(seed=9)
            small.fit(resumed, callbacks=[SAFE(folder)])
        small.assert_same(small.state(whole), small.state(resumed))

    def test_a_loop_of_ones_own_does_what_fit_does(self):
        plain = lambda: keras.optimizers.SGD(0.05, momentum=0.9)  # noqa: E731
        options = {"schedule": schedule(statistics_batches=0), "repair": None}
        fitted = made(optimizer=plain, **options)
        small.fit(fitted)
        own, own_optimizer = made(optimizer=plain, **options), plain()
        x, y = small.data()
        own.begin(16)
        train = STEPS[keras.backend.backend()](own, own_optimizer)
        for step in range(16):
            if step == own.search_end:
                own.decide()
                own_optimizer = own.shrink(own_optimizer)
                train = STEPS[keras.backend.backend()](own, own_optimizer)
            part = slice(step % 4 * small.BATCH, (step % 4 + 1) * small.BATCH)
            train(ops.convert_to_tensor(x[part]), ops.convert_to_tensor(y[part]))
        self.assertEqual(own.kept_channels(), fitted.kept_channels())
        for a, b in zip(weights(own), weights(fitted), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
        keras.utils.set_random_seed(0)
        alone = small.prune(small.network(), schedule=schedule())
        with self.assertRaisesRegex(ValueError, "optimizer.*frozen.*Received"):
            alone.begin_step(16)

    def test_the_scale_of_the_loss_follows_the_gradients_while_weights_wait(self):
        inner = keras.optimizers.SGD(0.05, momentum=0.9)
        pruned = made(
            warmup=0.0,
            optimizer=lambda: keras.optimizers.LossScaleOptimizer(
                inner, initial_scale=1e38
            ),
        )
        watch = Watch()
        small.fit(pruned, epochs=2, callbacks=[watch])
        scale = ops.convert_to_numpy(pruned.optimizer.dynamic_scale)
        self.assertLess(float(scale), 1e38)
        self.assertTrue((watch.ratios[-2] != 0).any())

    @parameterized.parameters("bn_scale", "group_lasso", "morphnet", "admm", "ecc")
    def test_methods_that_train_the_weights_to_search_are_refused(self, name):
        with self.assertRaisesRegex(ValueError, f"frozen weights.*{name!r}"):
            made(method=name)

    @pytest.mark.long
    def test_taylor_searches_on_frozen_weights_too(self):
        pruned, watch = made(method="taylor", warmup=0.0), Watch()
        small.fit(pruned, epochs=3, callbacks=[watch])
        small.assert_same(watch.weights[0], watch.weights[SEARCH - 2])
        self.assertTrue(pruned.is_compact)


class ShortTrainingTest(parameterized.TestCase):
    """What is left to the default: `Schedule(frozen_search="auto")`."""

    @parameterized.named_parameters(
        ("short", {}, 1999, True),
        ("long", {}, 2000, False),
        ("asked not to", {"frozen_search": False}, 100, False),
        ("search of a length", {"search": 0.2}, 100, False),
        ("search in steps", {"search_steps": 30}, 100, False),
    )
    def test_which_trainings_are_short(self, options, steps, frozen):
        given = tf_lossprune.Schedule(**options)
        pruned = made(schedule=given, ratio_optimizer=None)
        pruned.begin(steps)
        self.assertEqual(pruned.search.frozen.on_host, frozen)
        self.assertEqual(pruned.repairs, frozen or not pruned.search.read("step"))
        rate = ops.convert_to_numpy(pruned.ratio_optimizer.learning_rate)
        usual = pruned.options.method.learning_rate
        self.assertAlmostEqual(float(rate), 3 * usual if frozen else usual, places=6)
        self.assertEqual(pruned.search_end == 60, frozen and steps > 200)

    def test_loops_of_ones_own_and_other_methods_are_not_frozen_unasked(self):
        own = small.prune(small.network(), schedule=None)
        own.begin(100)
        self.assertFalse(own.search.frozen.on_host)
        for method in ("bn_scale", "taylor"):
            pruned = made(schedule=None, method=method)
            pruned.begin(100)
            self.assertFalse(pruned.search.frozen.on_host)

    def test_an_untrained_network_is_trained_while_it_is_searched(self):
        for warmup, frozen in ((0.0, False), (0.1, True)):
            given = tf_lossprune.Schedule(warmup=warmup)
            pruned = small.prune(small.network(), schedule=given)
            small.compile_model(pruned).begin(100)
            self.assertEqual(pruned.search.frozen.on_host, frozen)
        # What a resumed run began with holds, although the weights vary by then.
        pruned = small.prune(small.network(), schedule=None)
        small.compile_model(pruned).begin(100)
        pruned.search.step.assign(1)
        weights = pruned.network.weights
        next(w for w in weights if tuple(w.shape) == (16,)).assign(np.arange(16.0))
        pruned.begin(100)
        self.assertFalse(pruned.search.frozen.on_host)

    def test_the_best_of_the_networks_is_trained(self):
        """Told which one is best, `fit` delivers it; evaluating it changes nothing."""
        found = {}
        for best in range(3):
            pruned, watch, tried = made(schedule=None, warmup=0.0), Watch(), []
            orders = []

            class Telling(between.Evaluation):
                def __call__(
                    self, ratios, order=None, best=best, tried=tried, orders=orders
                ):
                    super().__call__(ratios, order)
                    tried.append(ratios)
                    orders.append(order)
                    return float(len(tried) - 1 == best)

            with mock.patch.object(between, "Evaluation", Telling):
                history = small.fit(pruned, epochs=26, callbacks=[watch]).history
            self.assertLen(tried, 4)
            small.assert_same(tried[3], tried[best])
            self.assertIsNone(orders[3])
            # 21 of 104 steps search: the cut is in the sixth epoch.
            small.assert_same(watch.weights[0], watch.weights[19])
            widths = [*pruned.widths.values()]
            self.assertEqual(widths, (np.array(tried[best]) * 16).round().tolist())
            found[best] = tuple(widths)
            # The epoch's mean accuracy is over its four batches, not reset by it.
            self.assertIn(history["accuracy"][5] * 64 % 1, (0.0,))
        uniform = small.prune(small.network(), method="uniform", schedule=None)
        self.assertEqual(found[1], tuple(uniform.widths.values()))
        self.assertGreater(len(set(found.values())), 1)

    def test_without_data_to_read_again_the_widths_are_halfway(self):
        x, y = small.data()

        def stream():
            while True:
                for i in range(0, len(x), small.BATCH):
                    yield x[i : i + small.BATCH], y[i : i + small.BATCH]

        pruned = made(schedule=None, warmup=0.0)
        with mock.patch.object(between, "Evaluation") as evaluation:
            pruned.fit(stream(), steps_per_epoch=24, epochs=5, verbose=0)
        evaluation.assert_not_called()
        self.assertTrue(pruned.is_compact)
