"""What sets each method apart."""

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from tests.methods.small import cross_entropy, images, small_net
from tf_lossprune import methods
from tf_lossprune.methods.baselines.ddpg import Ddpg
from tf_lossprune.methods.threshold import threshold_gates
from tf_lossprune.training.program import as_program

layers = keras.layers


def pruned_by(method, model=None, budget=0.4, **options):
    return tf_lossprune.prune_model(
        small_net() if model is None else model,
        {"macs": budget},
        method=method,
        channel_multiple=1,
        **options,
    )


def search(pruned, epochs=3, learning_rate=0.02, data=None):
    """Runs the search over all of `fit` but its last step."""
    x, y = images() if data is None else data
    steps = epochs * -(-len(y) // 16)
    pruned.options.schedule = tf_lossprune.Schedule(search=1.0, total_steps=steps + 1)
    pruned.compile(keras.optimizers.SGD(learning_rate), cross_entropy())
    pruned.fit(x, y, batch_size=16, epochs=epochs, verbose=0)
    return pruned


def half_useless(seed=0):
    """A dense network whose second half of hidden units reads nothing."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8,))
    hidden = layers.Dense(16, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(4, name="head")(hidden))
    head = model.get_layer("head")
    kernel = np.random.default_rng(seed).normal(size=(16, 4)).astype("float32")
    kernel[8:] = 0.0
    head.kernel.assign(kernel)
    head.trainable = False
    return model


def dense_data(count=384):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(count, 8)).astype("float32")
    return x, (x[:, :4].argmax(1)).astype("int32")


class ThresholdTest(parameterized.TestCase):
    @parameterized.parameters(0.9, 0.5, 0.2)
    def test_lowest_threshold_that_fits(self, limit):
        gates = pruned_by("magnitude", budget=0.1).search
        scores = np.random.default_rng(0).random(gates.layout.num_units + 1)
        kept, ratios = threshold_gates(
            gates, scores.astype("float32"), np.array([limit], "float32")
        )
        kept = ops.convert_to_numpy(kept)
        self.assertEqual(kept[0], 1.0)
        self.assertLessEqual(float(gates.fractions(ratios)[0]), limit + 1e-6)
        # One channel more, the best of those left out, would break the budget.
        left = np.where(kept[1:] == 0)[0] + 1
        kept[left[scores[left].argmax()]] = 1.0
        more = gates.layout.mean(gates.layout.rows(kept))
        self.assertGreater(float(gates.fractions(more)[0]), limit)

    def test_each_group_keeps_its_fewest(self):
        gates = pruned_by("magnitude", budget=0.5, min_channels=3).search
        scores = np.ones(gates.layout.num_units + 1, "float32")
        scores[gates.channel_graph.groups[0].units] = 1e-3
        kept, _ = threshold_gates(gates, scores, np.array([0.5], "float32"))
        kept = ops.convert_to_numpy(kept)
        self.assertEqual(kept[gates.channel_graph.groups[0].units].sum(), 3)


class PenaltyTest(parameterized.TestCase):
    def test_strength_shrinks_the_scores(self):
        self.check_strength(methods.GroupLasso)

    @parameterized.parameters(methods.BnScale, methods.MorphNet)
    @pytest.mark.long
    def test_strength_shrinks_the_scores_of_others(self, kind):
        self.check_strength(kind)

    def check_strength(self, kind):
        sums = [
            float(ops.sum(search(pruned_by(kind(s))).search.current_importance()))
            for s in (1e-9, 0.5)
        ]
        self.assertLess(sums[1], 0.9 * sums[0])

    def test_morphnet_prices_channels_by_their_cost(self):
        gates = pruned_by("morphnet").search
        factors = ops.convert_to_numpy(gates.factors())
        self.assertAlmostEqual(factors[1:].mean(), 1.0, delta=1e-4)
        price = gates.costs[0].gradient(gates.layout.sizes)
        found = [factors[g.units[0]] for g in gates.channel_graph.groups]
        np.testing.assert_array_equal(np.argsort(found), np.argsort(price))

    def test_morphnet_widens_what_is_alive(self):
        gates = pruned_by("morphnet", budget=0.5).search
        alive = ops.convert_to_numpy(gates.alive())
        ratios = gates.method.ratios(gates, None, gates.targets)
        self.assertAlmostEqual(float(gates.fractions(ratios)[0]), 0.5, delta=1e-3)
        free = (ratios < 1.0) & (ratios > gates.min_ratios)
        self.assertGreater(free.sum(), 1)
        np.testing.assert_allclose(np.ptp((ratios / alive)[free]), 0.0, atol=1e-3)

    def test_admm_pulls_what_goes_to_zero(self):
        def gap(rho):
            pruned = search(pruned_by(methods.Admm(rho=rho, interval=4)), epochs=6)
            scores = ops.convert_to_numpy(pruned.search.current_importance())
            kept, _ = threshold_gates(pruned.search, scores, pruned.search.targets)
            kept = ops.convert_to_numpy(kept)[1:] > 0
            return scores[1:][~kept].mean() / scores[1:][kept].mean()

        self.assertLess(gap(2.0), 0.6 * gap(1e-9))


class SaliencyTest(parameterized.TestCase):
    @parameterized.parameters(
        methods.Taylor(interval=2), methods.Variational(strength=3e-3)
    )
    def test_channels_that_nothing_reads_go_first(self, method):
        pruned = tf_lossprune.prune_model(
            half_useless(),
            {"params": 0.5},
            method=method,
            channel_multiple=1,
            ratio_optimizer=keras.optimizers.Adam(0.1),
        )
        search(pruned, epochs=8, data=dense_data())
        pruned.decide()
        kept = pruned.kept_units()[1:]
        self.assertGreaterEqual(kept[:8].sum(), 6)
        self.assertEqual(kept[8:].sum(), 0)

    def test_taylor_cuts_do_not_come_back(self):
        pruned = pruned_by(methods.Taylor(interval=1), budget=0.3)
        masks = []

        class Watch(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                pruned.sync_state()
                masks.append(ops.convert_to_numpy(pruned.search.mask.value))

        x, y = images()
        pruned.options.schedule = tf_lossprune.Schedule(search=1.0, total_steps=13)
        pruned.compile("sgd", cross_entropy())
        pruned.fit(x, y, batch_size=16, epochs=2, callbacks=[Watch()], verbose=0)
        for before, after in zip(masks, masks[1:]):
            self.assertTrue((after <= before).all())
        self.assertLess(masks[-1].sum(), masks[0].sum())


class RatioTest(parameterized.TestCase):
    def test_bar_comes_down_to_the_budget(self):
        x, y = images(384)
        pruned = search(
            pruned_by(methods.Bar(), ratio_optimizer=keras.optimizers.Adam(0.3)),
            data=(x, y),
        )
        share = float(pruned.search.fractions(pruned.search.ratios())[0])
        self.assertLess(share, 0.45)
        self.assertGreater(share, 0.2)

    def test_ecc_does_not_see_the_task_loss(self):
        found = []
        for scale in (0.0, 100.0):
            pruned = pruned_by("ecc", ratio_optimizer=keras.optimizers.Adam(0.1))
            pruned.search.search_steps.assign(10)
            for _ in range(10):
                step = pruned.begin_step(16)
                noise = np.random.default_rng(0).normal(size=step.gates.shape)
                pruned.end_step(step, (scale * noise).astype("float32"))
            found.append(ops.convert_to_numpy(pruned.search.log_ratio.value))
        np.testing.assert_array_equal(*found)
        self.assertLess(found[0].max(), 0.0)


def moved(method, gradients, batch_size=16, **options):
    """The model after steps with these gradients, of a network with two groups.

    Args:
        gradients: float array `[steps, num_units + 1]`.
    """
    optimizer = keras.optimizers.Adam(0.01)
    pruned = pruned_by(method, ratio_optimizer=optimizer, **options)
    gates = pruned.search
    gates.search_steps.assign(2 * len(gradients))

    def step(gradient):
        step = pruned.begin_step(batch_size)
        pruned.end_step(step, gradient)
        return step.gates

    step = as_program(step, pruned, often=True)
    for gradient in gradients:
        step(ops.convert_to_tensor(gradient))
    return pruned


class LossOrderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        gates = pruned_by("loss").search
        self.total = gates.layout.num_units + 1
        self.first, self.second = (g.units for g in gates.channel_graph.groups[:2])

    def noise(self, steps=60, seed=0):
        """Gradients whose mean is 0, five times as large in the first group."""
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (steps, self.total))
        signs[:, self.first] *= 5.0
        return (1e-2 * signs).astype("float32")

    @parameterized.parameters(0, 1, 2)
    def test_second_order_finds_the_saliency_in_noise(self, seed):
        found = {}
        for order in (1, 2):
            gates = moved(methods.Loss(order=order), self.noise(seed=seed)).search
            log_ratio = ops.convert_to_numpy(gates.log_ratio.value)
            found[order] = log_ratio[0] - log_ratio[1]
        self.assertGreater(found[2], 0.5)
        self.assertGreater(found[2], 3 * abs(found[1]))

    @parameterized.parameters(0, 5)
    def test_second_order_is_the_fisher_information(self, steps):
        """Half the mean of images times squares, which are averaged over their mean."""
        gradients = self.noise(max(steps, 1))[:steps]
        lagrangian = tf_lossprune.constraints.AugmentedLagrangian()
        pruned = moved(methods.Loss(decay=0.5), gradients, constraint=lagrangian)
        gates = pruned.search
        gates.search_steps.assign(20)
        before = ops.convert_to_numpy(gates.estimator.estimate.value)
        level = float(gates.estimator.level.value)
        step = pruned.begin_step(24)
        on = ops.convert_to_numpy(step.gates)[1:] > 0
        self.assertTrue(on.any())
        if steps:
            self.assertFalse(on.all())
        gradient = np.linspace(-0.1, 0.3, self.total).astype("float32")
        pruned.end_step(step, gradient)
        squares = gradient[1:] ** 2
        mean = squares[on].mean()
        # What is off has no weights to be judged by: its last value stays.
        wanted = np.where(on, 0.5 * before[1:] + 0.5 * squares / mean, before[1:])
        found = ops.convert_to_numpy(gates.estimator.estimate.value)
        np.testing.assert_allclose(found[1:], wanted, rtol=1e-5, atol=1e-9)
        self.assertEqual(found[0], 0.0)
        # The first step sets the level.
        share = 0.5 if steps else 1.0
        level += share * (np.log(0.5 * 24 * mean) - level)
        self.assertAlmostEqual(float(gates.estimator.level.value), level, places=4)

    def test_one_batch_does_not_outvote_the_others(self):
        calm = self.noise()
        wild = calm.copy()
        wild[10, self.second] *= 1000.0
        found = []
        for gradients in (calm, wild):
            log_ratio = ops.convert_to_numpy(
                moved("loss", gradients).search.log_ratio.value
            )
            found.append(log_ratio[0] - log_ratio[1])
        self.assertGreater(found[0], 0.5)
        self.assertGreater(found[1], 0.5 * found[0])

    def test_no_gradient_says_nothing(self):
        gates = moved("loss", np.zeros((5, self.total), "float32")).search
        for variable in (
            gates.log_ratio,
            gates.estimator.estimate,
            gates.estimator.level,
        ):
            self.assertEqual(np.abs(ops.convert_to_numpy(variable.value)).max(), 0.0)

    def test_first_order_keeps_no_mean(self):
        gradients = self.noise(5)
        gates = moved(methods.Loss(order=1), gradients).search
        found = ops.convert_to_numpy(gates.saliency())
        np.testing.assert_allclose(found, -gradients[-1])

    def test_more_images_weigh_more_against_the_budget(self):
        """Twice the images with gradients 1/sqrt(2) as large say the same."""
        lagrangian = tf_lossprune.constraints.AugmentedLagrangian()
        found = [
            moved("loss", scale * self.noise(), batch_size, constraint=lagrangian)
            for scale, batch_size in ((1.0, 16), (0.5**0.5, 32), (1.0, 32))
        ]
        one, two, more = (ops.convert_to_numpy(p.search.log_ratio.value) for p in found)
        np.testing.assert_allclose(one, two, atol=1e-4)
        self.assertGreater(np.abs(one - more).max(), 1e-3)

    def test_fit_tells_the_batch_size(self):
        x, y = images(40)
        pruned = pruned_by("loss", schedule=tf_lossprune.Schedule(search=1.0))
        pruned.compile("sgd", cross_entropy(), run_eagerly=True)
        seen, begin_step = [], pruned.begin_step

        def watched(batch_size):
            seen.append(int(batch_size))
            return begin_step(batch_size)

        pruned.begin_step = watched
        pruned.fit(x, y, batch_size=16, epochs=1, verbose=0)
        self.assertEqual(seen[:3], [16, 16, 8])

    @parameterized.parameters(0, 3, "2", None, 1.5)
    def test_other_orders(self, order):
        with self.assertRaisesRegex(ValueError, "1 or 2.*Received"):
            methods.Loss(order=order)

    def test_decay_is_a_share(self):
        with self.assertRaisesRegex(ValueError, "decay.*Received"):
            methods.Loss(decay=1.0)

    @parameterized.parameters(1, 2)
    def test_default_rate(self, order):
        method = methods.Loss(order=order)
        again = methods.Loss(**method.get_config())
        self.assertEqual(again.get_config(), method.get_config())
        self.assertEqual(again.learning_rate, {1: 0.01, 2: 0.005}[order])


class StubEvaluation:
    """Likes channels in one group."""

    def __init__(self, search, loved):
        self.search, self.loved = search, loved
        self.seen, self.trained = [], 0

    def __call__(self, ratios):
        self.seen.append(np.array(ratios))
        return float(ratios[self.loved])

    def train(self, ratios, steps):
        self.trained += steps


class PlanTest(parameterized.TestCase):
    @parameterized.parameters(
        methods.NetAdapt(iterations=4, short_steps=3),
        methods.AutoCompress(trials=60),
        methods.Amc(episodes=40, warmup=20),
    )
    def test_follows_the_score_within_the_budget(self, method):
        pruned = pruned_by(method, budget=0.5)
        stub = StubEvaluation(pruned.search, loved=1)
        ratios = method.plan(pruned, stub)
        uniform = np.sqrt(0.5)
        self.assertGreater(ratios[1], uniform)
        widths = np.rint(ratios * pruned.search.layout.sizes)
        share = pruned.costs["macs"].total(widths) / pruned.costs["macs"].dense
        self.assertLess(share, 0.56)  # rounding; the whole widths come later
        self.assertEqual(stub.trained, method.plan_steps())

    def test_walk_always_can_meet_the_budget(self):
        from tf_lossprune.methods.baselines.amc import _Walk

        gates = pruned_by("amc", budget=0.2).search
        for greedy in (1.0, 0.7):
            ratios, states, actions = _Walk(gates).run(lambda _, a=greedy: a)
            widths = np.rint(ratios * gates.layout.sizes)
            share = gates.costs[0].total(widths) / gates.costs[0].dense
            self.assertLessEqual(share, 0.2 + 1e-6)
            self.assertLen(states, len(actions))

    def test_agent_learns_a_bandit(self):
        agent = Ddpg(2, seed=0)
        rng = np.random.default_rng(0)
        state = np.array([0.5, 1.0], "float32")
        for _ in range(400):
            action = rng.random()
            reward = -((action - 0.3) ** 2) * 10
            agent.remember([(state, action, reward, state, True)])
        for _ in range(200):
            agent.learn()
        self.assertAlmostEqual(agent.act(state), 0.3, delta=0.15)
