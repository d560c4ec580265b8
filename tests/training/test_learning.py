"""The search: the loss moves the ratios, the budget is kept, phases follow."""

import functools

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from examples import models
from tests.training import small
from tf_lossprune.gates import solve_threshold
from tf_lossprune.training.program import as_program

layers = keras.layers


def planted(seed=0):
    """Two parallel branches: labels depend on `a`'s input only.

    Branch `useless` sees noise that has nothing to do with the label; branch
    `essential` sees the signal, and needs many channels: the label is the parity
    pattern of a hidden nonlinear code. Both branches cost the same.
    """
    signal = keras.Input((12,), name="signal")
    noise = keras.Input((12,), name="noise")
    a = layers.Dense(32, activation="relu", name="essential")(signal)
    b = layers.Dense(32, activation="relu", name="useless")(noise)
    x = layers.Concatenate()([a, b])
    return keras.Model([signal, noise], layers.Dense(4, name="head")(x))


def planted_data(count=2048, seed=0):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(count, 12)).astype("float32")
    noise = rng.normal(size=(count, 12)).astype("float32")
    hidden = np.maximum(signal @ rng.normal(size=(12, 24)), 0)
    labels = (hidden @ rng.normal(size=(24, 4))).argmax(1)
    return [signal, noise], labels


@functools.cache
def trained():
    """The dense network, which no test changes."""
    (x, y), model = planted_data(), planted()
    model.compile(keras.optimizers.Adam(5e-3), cross_entropy())
    model.fit(x, y, batch_size=64, epochs=15, verbose=0)
    return model


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled_draw(pruned):
    """A draw of gates, their factors and ratios as one program, for thousands of it."""

    def draw():
        step = pruned.begin_step(1)
        return step.gates, step.weight, step.ratios

    if keras.backend.backend() == "jax":
        return as_program(draw, pruned)
    import tensorflow as tf

    return tf.function(draw, jit_compile=True)


class LearningTest(parameterized.TestCase):
    @parameterized.parameters(
        (tf_lossprune.constraints.Projection(),),
        (tf_lossprune.constraints.AugmentedLagrangian(),),
    )
    def test_ratios_follow_the_loss(self, constraint):
        (x, y), model = planted_data(), trained()
        arguments = {"budget": {"params": 0.5}, "channel_multiple": 1}
        uniform = tf_lossprune.prune_model(model, method="uniform", **arguments)
        a, b = uniform.keep_ratios().values()
        self.assertAlmostEqual(a, b, delta=0.05)
        pruned = tf_lossprune.prune_model(
            model,
            constraint=constraint,
            ratio_optimizer=keras.optimizers.Adam(0.03),
            schedule=tf_lossprune.Schedule(search=1.0, start_variance=0.1),
            **arguments,
        )
        pruned.compile(
            keras.optimizers.Adam(1e-3), cross_entropy(), metrics=["accuracy"]
        )
        pruned.fit(x, y, batch_size=64, epochs=12, verbose=0)
        ratios = pruned.keep_ratios()
        self.assertGreater(ratios["essential"], ratios["useless"] + 0.4)
        shares = pruned.cost()["params"] / tf_lossprune.cost(model)["params"]
        self.assertLessEqual(shares, 0.5)

    def test_ratio_gradient_is_the_gradient_of_the_expected_loss(self):
        """E over masks, enumerated exactly, against what the steps estimate."""
        rng = np.random.default_rng(0)
        inputs = keras.Input((3,))
        x = layers.Dense(5, name="a")(inputs)
        model = keras.Model(inputs, layers.Dense(1, name="b")(x))
        models.randomize(model, 1)
        pruned = tf_lossprune.prune_model(
            model,
            {"macs": 0.6},
            method=tf_lossprune.methods.Loss(order=1),
            channel_multiple=1,
            schedule=tf_lossprune.Schedule(
                search=1.0, start_variance=0.1, end_variance=0.1
            ),
        )
        data = rng.normal(size=(16, 3)).astype("float32")
        target = rng.normal(size=(16, 1)).astype("float32")
        gates = pruned.search
        pruned.begin(1)  # one step: the budget is at its target at once

        masks = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T
        losses = []
        for mask in masks.astype("float32"):
            y = pruned.run_network(data, np.concatenate([[1.0], mask]).astype("f"))
            losses.append(float(np.mean((np.array(y) - target) ** 2)))

        def probabilities(ratio):
            x = gates.log_rows(gates.importance.value)
            p = solve_threshold(
                pruned.options.threshold,
                gates.layout,
                x,
                np.array([ratio], "f"),
                gates.steepness.value,
            ).probabilities
            return np.array(p)[0].astype(float)

        def expected_loss(ratio):
            p = probabilities(ratio)
            chance = np.where(masks == 1, p, 1 - p).prod(1)
            return chance @ np.array(losses)

        # The loss is quadratic in each gate: the central difference is exact.
        slopes = np.zeros((len(masks), 6))
        for index, mask in enumerate(masks):
            for u in range(5):
                step = 0.5 * np.eye(5)[u]
                up = self._loss(pruned, data, target, mask + step)
                down = self._loss(pruned, data, target, mask - step)
                slopes[index, u + 1] = up - down

        step = pruned.begin_step(1)  # refreshes importance and steepness
        ratio = float(step.ratios[0])
        wanted = (expected_loss(ratio + 0.01) - expected_loss(ratio - 0.01)) / 0.02
        draw = compiled_draw(pruned)
        estimates = []
        for _ in range(4000):
            mask, weight, _ = (np.array(x) for x in draw())
            index = int((masks == mask[1:]).all(1).argmax())
            self.assertEqual(list(masks[index]), list(mask[1:]))
            estimates.append(float(np.sum(slopes[index] * weight)))
        error = np.std(estimates) / np.sqrt(len(estimates))
        self.assertLess(abs(np.mean(estimates) - wanted), 4 * error)
        self.assertGreater(abs(wanted), 8 * error)  # the test can tell

    def _loss(self, pruned, data, target, mask):
        first, second = (la for la in pruned.channel_graph.graph.layers if la.weights)
        hidden = data @ np.array(first.kernel) + np.array(first.bias)
        y = hidden @ (np.array(second.kernel) * mask[:, None]) + np.array(second.bias)
        return float(np.mean((y - target) ** 2))

    def test_phases_logs_and_budget(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(96, 8)).astype("float32")
        y = rng.integers(0, 4, 96)
        model = small.network()
        pruned = tf_lossprune.prune_model(
            model,
            {"macs": 0.4, "params": 0.45},
            channel_multiple=1,
            schedule=tf_lossprune.Schedule(warmup=0.25, search=0.5),
        )
        self.assertEqual(pruned.phase, "warmup")
        seen = []

        class Watch(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                seen.append((self.model.phase, logs["macs"], logs["params"]))

        pruned.compile("sgd", cross_entropy(), metrics=["accuracy"], jit_compile=False)
        history = pruned.fit(
            x,
            y,
            batch_size=8,
            epochs=2,
            validation_data=(x, y),
            verbose=0,
            callbacks=[Watch()],
        ).history
        self.assertContainsSubset(
            {"loss", "accuracy", "macs", "params", "phase", "val_accuracy"}, history
        )
        phases = [phase for phase, _, _ in seen]
        # The callback looks after the step: the counter is one further on.
        self.assertEqual(phases, ["warmup"] * 5 + ["search"] * 12 + ["fixed"] * 7)
        self.assertEqual(pruned.phase, "fixed")
        compact = tf_lossprune.strip_pruning(pruned)
        for name, share in pruned.budget.limits.items():
            used = tf_lossprune.cost(compact)[name] / tf_lossprune.cost(model)[name]
            self.assertLessEqual(used, share)
            self.assertAlmostEqual(history[name][-1], used, delta=0.02)

    def test_stripping_before_and_during_the_search_keeps_the_budget(self):
        model = small.network()
        x, y = small.data(32)
        for epochs in (0, 1):
            pruned = tf_lossprune.prune_model(
                model, {"macs": 0.3}, schedule=tf_lossprune.Schedule(total_steps=100)
            )
            if epochs:
                pruned.compile("sgd", cross_entropy(), jit_compile=False)
                pruned.fit(x, y, batch_size=8, epochs=epochs, verbose=0)
                self.assertEqual(pruned.phase, "search")
            compact = tf_lossprune.strip_pruning(pruned)
            used = tf_lossprune.cost(compact)["macs"] / tf_lossprune.cost(model)["macs"]
            self.assertLessEqual(used, 0.3)

    def test_unknown_length_and_several_calls(self):
        pruned = tf_lossprune.prune_model(small.network(), {"macs": 0.5})
        pruned.compile("sgd", cross_entropy(), jit_compile=False)

        def generator():
            while True:
                yield np.zeros((8, 8), "float32"), np.zeros(8, int)

        pruned.fit(generator(), steps_per_epoch=3, epochs=4, verbose=0)
        self.assertEqual(pruned.phase, "fixed")
        kept = pruned.kept_channels()
        pruned.fit(generator(), steps_per_epoch=3, epochs=1, verbose=0)
        self.assertEqual(pruned.kept_channels(), kept)

    def test_variance_follows_the_schedule(self):
        """The kept number's variance is C v and that of the broken channel."""
        model = models.build(
            "resnet", input_shape=(8, 8, 1), width=16, stages=1, blocks=1
        )
        models.randomize(model, 0)
        for variance in (0.1, 0.01):
            pruned = tf_lossprune.prune_model(
                model,
                {"macs": 0.3},
                schedule=tf_lossprune.Schedule(
                    start_variance=variance, end_variance=variance
                ),
            )
            pruned.begin(1)
            draw = compiled_draw(pruned)
            draws = [[np.array(x) for x in draw()] for _ in range(80)]
            ratios = draws[0][2]
            for group, ratio in zip(pruned.groups, ratios):
                kept = [gates[group.units].sum() for gates, _, _ in draws]
                broken = ratio * group.size % 1
                wanted = group.size * variance + broken * (1 - broken)
                self.assertAlmostEqual(
                    np.mean(kept), ratio * group.size, delta=4 * (wanted / 80) ** 0.5
                )
                self.assertBetween(np.var(kept), 0.4 * wanted, 1.8 * wanted)

    def test_overflowing_gradients_do_not_reach_the_ratios(self):
        pruned = tf_lossprune.prune_model(models.digits_resnet(width=8), {"macs": 0.5})
        pruned.begin(10)
        step = pruned.begin_step(8)
        before = np.array(pruned.search.log_ratio)
        pruned.end_step(step, ops.full_like(step.gates, np.nan))
        self.assertTrue(np.isfinite(np.array(pruned.search.log_ratio)).all())
        np.testing.assert_allclose(np.array(pruned.search.log_ratio), before, atol=1e-6)

    def test_compiled_steps_learn_alike(self):
        """With a deterministic sampler XLA and plain graphs find the same ratios."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, 6, 6, 1)).astype("float32")
        y = rng.integers(0, 4, 64)
        model = models.build(
            "resnet", input_shape=(6, 6, 1), classes=4, width=8, stages=1, blocks=1
        )
        models.randomize(model, 0)
        found = []
        for jit_compile in (False, True):
            pruned = tf_lossprune.prune_model(
                model,
                {"macs": 0.5},
                sampler="deterministic",
                schedule=tf_lossprune.Schedule(search=1.0, total_steps=9),
            )
            pruned.compile("sgd", cross_entropy(), jit_compile=jit_compile)
            pruned.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
            found.append(np.array(pruned.search.log_ratio))
        np.testing.assert_allclose(found[0], found[1], atol=1e-3)
        self.assertGreater(np.abs(found[0]).max(), 1e-2)
