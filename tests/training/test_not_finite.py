"""NaN and Inf never reach ratios, importance or the kept choice."""

import warnings

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from tests.training import small


def gate_state(pruned):
    """What must never hold NaN or Inf, and what a lost step must leave as it was."""
    found = {v.name: np.array(v.value) for v in pruned.search.weights}
    for index, variable in enumerate(pruned.ratio_optimizer.variables):
        found[f"optimizer_{index}"] = np.array(variable.value)
    return found


class Watch(keras.callbacks.Callback):
    """Keeps what the gates hold after every step."""

    def __init__(self):
        super().__init__()
        self.states = []

    def on_train_batch_end(self, batch, logs=None):
        self.states.append(gate_state(self.model))


def make(kind="group_l2", **options):
    """A pruned model that refreshes the importance at every step."""
    keras.utils.set_random_seed(0)
    pruned = small.prune(
        # With AVX-512, TensorFlow's merged product, bias and ReLU makes 0 of NaN.
        small.network(activation="softplus"),
        importance={"class_name": kind, "config": {"interval": 1}},
        **options,
    )
    return small.compile_model(pruned)


def poisoned(step, value):
    """Training data with a bad sample in one batch."""
    x, _ = small.data()
    x[step * small.BATCH] = value
    return x


class NotFiniteTest(parameterized.TestCase):
    def assert_finite(self, states):
        for state in states:
            for name, value in state.items():
                self.assertTrue(np.isfinite(value).all(), name)

    @parameterized.parameters(
        ("group_l2", np.nan, None), ("taylor", np.inf, "lagrangian")
    )
    def test_terminate_on_nan(self, kind, value, constraint):
        """Training stops; the gates stay as they were one step before."""
        if constraint:
            constraint = "augmented_lagrangian"
        pruned = make(kind, schedule=small.schedule(warmup=0.0), constraint=constraint)
        watch = Watch()
        callbacks = [watch, keras.callbacks.TerminateOnNaN()]
        x = poisoned(3, value)
        with self.assertWarnsRegex(UserWarning, "widths cannot be fixed.*NaN or Inf"):
            history = small.fit(pruned, x=x, callbacks=callbacks).history
        self.assertLen(history["loss"], 1)
        self.assertLen(watch.states, 4)
        self.assert_finite([*watch.states, gate_state(pruned)])
        before, after = watch.states[-2:]
        for name in ("kept", "saliency"):
            np.testing.assert_array_equal(before[name], after[name], name)
        self.assertEqual(pruned.phase, "search")
        # The weights are what the optimizer made of them.
        self.assertTrue(np.isnan(np.array(pruned.trainable_weights[0].value)).any())
        with self.assertRaisesRegex(ValueError, "Received: NaN or Inf in "):
            tf_lossprune.strip_pruning(pruned)

    def test_importance_is_not_refreshed_from_ruined_weights(self):
        pruned = make(schedule=small.schedule(warmup=0.0, total_steps=100))
        watch = Watch()
        small.fit(pruned, x=poisoned(1, np.nan), epochs=2, callbacks=[watch])
        # From the third step on, the weights are NaN.
        reference = watch.states[1]["importance"]
        self.assertFalse(np.array_equal(watch.states[0]["importance"], reference))
        for state in watch.states[2:]:
            np.testing.assert_array_equal(state["importance"], reference)
        self.assert_finite([*watch.states, gate_state(pruned)])
        self.assertEqual(pruned.phase, "search")
        self.assertTrue(np.isfinite([*pruned.keep_ratios().values()]).all())
        found = keras.ops.convert_to_numpy(pruned.search.evaluation_gates())
        self.assertTrue(set(found) <= {0.0, 1.0})

    def test_the_end_of_the_search_stops_a_ruined_run(self):
        """Without TerminateOnNaN as well: no widths can be chosen any more."""
        pruned = make()
        with self.assertWarnsRegex(UserWarning, "training stops"):
            history = small.fit(pruned, x=poisoned(1, np.nan)).history
        self.assertLen(history["loss"], 3)  # the search ends with the third epoch
        self.assertEqual(pruned.phase, "search")
        np.testing.assert_array_equal(np.array(pruned.search.kept.value), 1.0)
        self.assert_finite([gate_state(pruned)])

    def test_a_good_state_can_be_put_back(self):
        """A backup from before the NaN strips, and it goes on."""
        pruned = make(schedule=small.schedule(total_steps=16))
        small.fit(pruned, epochs=2)
        good = pruned.get_weights()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small.fit(pruned, x=poisoned(0, np.nan), epochs=1)
        with self.assertRaisesRegex(ValueError, "earlier checkpoint"):
            tf_lossprune.strip_pruning(pruned)
        pruned.set_weights(good)
        compact = tf_lossprune.strip_pruning(pruned)
        allowed = small.SHARE * pruned.costs["macs"].dense
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], allowed)

    @parameterized.parameters(1e12, 1e17, 3e38, np.inf, np.nan)
    def test_huge_gradients_do_not_stop_the_ratios_for_good(self, size):
        """The square of one would fill the optimizer's moments with infinity."""
        pruned = small.prune(small.network())
        pruned.begin(10)
        pruned.search.step.assign(5)

        def step(value):
            step = pruned.begin_step(32)
            gradient = np.zeros(step.gates.shape, "float32")
            gradient[pruned.groups[0].units] = value
            pruned.end_step(step, gradient)
            return np.array(pruned.search.log_ratio.value)

        step(1.0)
        step(size)
        self.assert_finite([gate_state(pruned)])
        before = np.array(pruned.search.log_ratio.value)
        if size > 1e15:
            self.assertGreater(np.abs(step(1.0) - before).max(), 1e-3)

    def test_decisions_need_finite_weights(self):
        pruned = small.prune(small.network())
        weight = pruned.trainable_weights[1]
        for value in (np.nan, np.inf):
            good = np.array(weight.value)
            weight.assign(np.full(weight.shape, value))
            before = gate_state(pruned)
            for function in (
                pruned.decide,
                lambda: pruned.snapshot({"macs": 0.9}),
                lambda: tf_lossprune.strip_pruning(pruned),
                lambda: tf_lossprune.strip_pruning(pruned, check=False),
            ):
                with self.assertRaisesRegex(ValueError, f"Received:.*{weight.path}"):
                    function()
            for name, state in gate_state(pruned).items():
                np.testing.assert_array_equal(before[name], state, name)
            self.assertEqual(pruned.phase, "warmup")
            weight.assign(good)
        tf_lossprune.strip_pruning(pruned)

    def test_ruined_statistics_are_found_too(self):
        """The first NaN may be in what a normalisation has seen."""
        pruned = small.prune(small.network(), method="uniform")
        statistic = next(
            v for v in pruned.non_trainable_weights if v.name == "moving_mean"
        )
        statistic.assign(np.full(statistic.shape, np.nan))
        with self.assertRaisesRegex(ValueError, "moving_mean"):
            tf_lossprune.strip_pruning(pruned)

    def test_infinite_constants_are_no_error(self):
        """A mask may hold infinities that no training made."""
        pruned = small.prune(small.network(), method="uniform")
        statistic = next(
            v for v in pruned.non_trainable_weights if v.name == "moving_variance"
        )
        value = np.array(statistic.value)
        value[0] = np.inf
        statistic.assign(value)
        tf_lossprune.strip_pruning(pruned)

    def test_one_shot_methods_refuse_ruined_weights(self):
        model = small.network()
        kernel = model.trainable_weights[0]
        kernel.assign(np.full(kernel.shape, np.nan))
        for method in ("magnitude", "uniform"):
            with self.assertRaisesRegex(ValueError, "Received: NaN"):
                small.prune(model, method=method)
