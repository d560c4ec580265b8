"""Every feature of Keras' training with a pruned model: it works, or says why not.

docs/training.md has a line for each entry of `FEATURES` and `REFUSED`.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tf_lossprune
from tests.training import small

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "training.md"
SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam
RATE = 0.05
#: Without a signal the ratios do not move at all.
MOVED = 1e-3


def array(variable):
    return keras.ops.convert_to_numpy(variable.value)


@functools.cache
def baseline():
    """What comes of SGD alone: the pruned model and its ratios after each epoch."""
    keras.utils.set_random_seed(1)
    watch = Watch()
    pruned = small.compile_model(small.prune(small.network()), SGD(RATE))
    small.fit(pruned, callbacks=[watch])
    return pruned, watch


class Watch(keras.callbacks.Callback):
    """Keeps the network's weights after the first epoch, and each epoch's ratios."""

    def __init__(self):
        super().__init__()
        self.weights, self.ratios, self.rates = None, [], []

    def on_epoch_end(self, epoch, logs=None):
        if self.weights is None:
            weights = self.model.trainable_weights
            self.weights = {v.name + str(v.shape): array(v).copy() for v in weights}
        self.rates.append(float(self.model.optimizer.learning_rate))
        if hasattr(self.model, "search"):
            self.ratios.append(array(self.model.search.log_ratio).copy())


def nothing_more(test, pruned, watch, history):
    """What holds for every feature is enough."""


def rate_follows_the_schedule(test, pruned, watch, history):
    schedule = decay()
    expected = [float(schedule(step)) for step in (4, 8, 12, 16)]
    np.testing.assert_allclose(watch.rates, expected, rtol=1e-5)
    test.assertAlmostEqual(float(pruned.ratio_optimizer.learning_rate), RATE)


def rate_was_halved(test, pruned, watch, history):
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.1, 0.05, 0.025])
    test.assertAlmostEqual(float(pruned.ratio_optimizer.learning_rate), RATE)


def rate_was_set(test, pruned, watch, history):
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.05, 0.025, 0.0125])


def training_stopped(test, pruned, watch, history):
    """Stopped in the search, it still fixes widths that keep the budget."""
    test.assertLen(history["loss"], 2)
    test.assertEqual(history["phase"][-1], 1.0)


def averages_are_delivered(test, pruned, watch, history):
    averages = pruned.optimizer._model_variables_moving_average
    for weight, average in zip(pruned.trainable_weights, averages, strict=True):
        np.testing.assert_array_equal(array(weight), array(average), weight.path)
    before, after = watch.weights["kernel(8, 16)"], array(pruned.trainable_weights[0])
    moved = np.abs(after[:, :, None] - before[:, None]).max(0)
    test.assertGreater(moved.min(), 1e-3)  # from whichever column it was


def updates_are_rarer(test, pruned, watch, history):
    """The weights move every second step, the ratios in every one of the search."""
    # Keras counts steps, not updates.
    test.assertEqual(int(pruned.optimizer._iterations), 16)
    test.assertEqual(int(pruned.optimizer.iterations), 8)
    test.assertEqual(int(pruned.ratio_optimizer.iterations), 8)


def gate_gradients_are_unscaled(test, pruned, watch, history):
    """The scale doubles every other step: powers of two change no bit.

    On JAX, XLA fuses the step with scaling in another way, and rounds in another.
    """
    test.assertEqual(float(array(pruned.optimizer.dynamic_scale)), 2.0**8 * 2.0**8)
    rtol = 1e-4 if keras.backend.backend() == "jax" else 0
    np.testing.assert_allclose(baseline()[1].ratios, watch.ratios, rtol=rtol)


def weighted_metric_is_shown(test, pruned, watch, history):
    test.assertIn("weighted_accuracy", history)
    differs = np.subtract(history["weighted_accuracy"], history["accuracy"])
    test.assertGreater(np.abs(differs).max(), 1e-3)


def weights_stay_small(test, pruned, watch, history):
    test.assertLess(np.linalg.norm(array(pruned.trainable_weights[0])), 3.0)


def validation_is_shown(test, pruned, watch, history):
    test.assertLen(history["val_loss"], small.EPOCHS)


def decay():
    return keras.optimizers.schedules.ExponentialDecay(RATE, 4, 0.5)


def class_weight():
    return {0: 0.1, 1: 1.0, 2: 2.0, 3: 0.5}


def sample_weight():
    return np.linspace(0.0, 2.0, small.BATCH * small.STEPS).astype("float32")


def plateau():
    # Nothing improves by so much: the rate halves every epoch after the first.
    options = {"monitor": "loss", "factor": 0.5, "patience": 1, "min_delta": 1e3}
    return keras.callbacks.ReduceLROnPlateau(**options)


@dataclasses.dataclass
class Feature:
    """One feature: what `compile` and `fit` get, and what has to come of it.

    Attributes:
        compile: function that returns arguments of `small.compile_model`.
        fit: function that returns arguments of `fit`.
        check: function of the test, the pruned model, its `Watch` and the history.
    """

    compile: Callable = dict
    fit: Callable = dict
    check: Callable = nothing_more


def optimizer(make):
    return lambda: {"optimizer": make()}


FEATURES = {
    "`EarlyStopping`": Feature(
        fit=lambda: {
            "callbacks": [
                keras.callbacks.EarlyStopping("loss", min_delta=1e3, patience=1)
            ]
        },
        check=training_stopped,
    ),
    "learning rate schedules": Feature(
        optimizer(lambda: SGD(decay())), check=rate_follows_the_schedule
    ),
    "`LearningRateScheduler`": Feature(
        optimizer(lambda: SGD(0.1)),
        lambda: {
            "callbacks": [
                keras.callbacks.LearningRateScheduler(
                    lambda epoch, rate: rate if epoch == 0 else rate / 2
                )
            ]
        },
        rate_was_set,
    ),
    "`ReduceLROnPlateau`": Feature(
        optimizer(lambda: SGD(0.1)), lambda: {"callbacks": [plateau()]}, rate_was_halved
    ),
    "`class_weight`": Feature(fit=lambda: {"class_weight": class_weight()}),
    "`sample_weight`": Feature(
        lambda: {
            "weighted_metrics": [
                keras.metrics.SparseCategoricalAccuracy(name="weighted_accuracy")
            ]
        },
        lambda: {"sample_weight": sample_weight()},
        weighted_metric_is_shown,
    ),
    "gradient accumulation": Feature(
        optimizer(lambda: SGD(RATE, gradient_accumulation_steps=2)),
        check=updates_are_rarer,
    ),
    "moving averages of weights": Feature(
        optimizer(lambda: SGD(0.2, use_ema=True, ema_momentum=0.7)),
        check=averages_are_delivered,
    ),
    "loss scaling": Feature(
        optimizer(
            lambda: keras.optimizers.LossScaleOptimizer(
                SGD(RATE), initial_scale=2.0**8, dynamic_growth_steps=2
            )
        ),
        check=gate_gradients_are_unscaled,
    ),
    "gradient clipping": Feature(optimizer(lambda: SGD(1.0, global_clipnorm=0.1))),
    "weight decay": Feature(
        optimizer(lambda: SGD(RATE, weight_decay=2.0)), check=weights_stay_small
    ),
    "`validation_data`": Feature(
        fit=lambda: {"validation_data": small.data()}, check=validation_is_shown
    ),
}


class Doubled(keras.Model):
    """A functional model whose class says how it trains."""

    def train_step(self, data):
        return super().train_step(data)


class OtherLoss(keras.Model):
    """A functional model with a loss of its own."""

    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


def made_of(klass):
    plain = small.network()
    return klass(plain.inputs, plain.outputs)


def trained_inside_another():
    class Outer(keras.Model):
        """A model that trains what it holds."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, inputs, training=None):
            return self.inner(inputs, training=training)

    small.fit(small.compile_model(Outer(small.prune(small.network()))), epochs=1)


REFUSED = {
    "`train_step` of the model's own class": (
        lambda: small.prune(made_of(Doubled)),
        "PrunedModel",
    ),
    "`compute_loss` of the model's own class": (
        lambda: small.prune(made_of(OtherLoss)),
        "PrunedModel",
    ),
    "as a part of another model's training": (trained_inside_another, "decide()"),
}

#: Works too, with a test of its own below.
OWN_TESTS = {
    "`compute_loss` of a subclass of `PrunedModel`",
    "`train_step` of a subclass of `PrunedModel`",
    "`train_on_batch`",
}


#: Those that are much like another one; in the long target.
LONG = (
    "`LearningRateScheduler`",
    "`ReduceLROnPlateau`",
    "`class_weight`",
    "gradient clipping",
    "weight decay",
)


def documented():
    """The table of docs/training.md: dict, feature -> "works" or "refused"."""
    rows = re.findall(r"^\| (.+?) \| (works|refused) \|", DOCS.read_text(), re.M)
    return dict(rows)


class KerasFeaturesTest(parameterized.TestCase):
    def test_one_shot_methods_warn_of_a_step_that_is_not_used(self):
        with pytest.warns(UserWarning, match="train_step.*is not used.*Doubled"):
            small.prune(made_of(Doubled), method="uniform")

    def test_the_table_in_the_documentation_is_complete(self):
        expected = dict.fromkeys([*FEATURES, *OWN_TESTS], "works")
        expected.update(dict.fromkeys(REFUSED, "refused"))
        self.assertEqual(documented(), expected)

    @parameterized.named_parameters(
        *((name, name) for name in FEATURES if name not in LONG)
    )
    def test_works(self, name):
        self.check_works(name)

    @parameterized.named_parameters(*((name, name) for name in LONG))
    @pytest.mark.long
    def test_works_too(self, name):
        self.check_works(name)

    def check_works(self, name):
        feature = FEATURES[name]
        seen, histories = [], []
        for pruned in (False, True):
            keras.utils.set_random_seed(1)
            model = small.network()
            if pruned:
                model = small.prune(model)
            small.compile_model(model, **{"optimizer": SGD(RATE), **feature.compile()})
            options = feature.fit()
            watch = Watch()
            options["callbacks"] = [*options.pop("callbacks", []), watch]
            # Only the pruned one goes on after the warm-up.
            epochs = small.EPOCHS if pruned else 1
            histories.append(small.fit(model, epochs, **options).history)
            seen.append(watch)
        # The warm-up is plain training, with this feature.
        plain, watch = seen
        self.assertEqual(plain.weights.keys(), watch.weights.keys())
        for key, expected in plain.weights.items():
            np.testing.assert_allclose(
                watch.weights[key], expected, rtol=1e-4, atol=1e-5, err_msg=key
            )
        for key, values in histories[0].items():
            self.assertAlmostEqual(values[0], histories[1][key][0], places=4, msg=key)
        # The search learns, and what comes of it keeps the budget.
        self.assertEqual(np.abs(watch.ratios[0]).max(), 0.0)
        self.assertGreater(np.abs(watch.ratios).max(), MOVED)
        self.assertEqual(model.phase, "fixed")
        compact = tf_lossprune.strip_pruning(model)
        allowed = small.SHARE * model.costs["macs"].dense
        self.assertLessEqual(tf_lossprune.cost(compact)["macs"], allowed)
        feature.check(self, model, watch, histories[1])

    @parameterized.named_parameters(*((name, *REFUSED[name]) for name in REFUSED))
    def test_refused(self, function, cure):
        with self.assertRaisesRegex(ValueError, "(?s)Received: ") as caught:
            function()
        self.assertIn(cure, str(caught.exception))

    def test_refused_only_where_it_would_matter(self):
        """One-shot methods do not train, and a model with fixed widths may serve."""
        small.prune(made_of(Doubled), method="uniform")
        pruned = small.prune(small.network(), method="uniform")
        x, _ = small.data(4)
        trained = keras.ops.convert_to_numpy(pruned(x, training=True))
        self.assertTrue(np.isfinite(trained).all())

    def test_samples_without_weight_teach_nothing(self):
        """The weights of samples reach the gates' gradient, not only the kernels'."""
        pruned = small.compile_model(small.prune(small.network()), SGD(RATE))
        small.fit(pruned, sample_weight=np.zeros(64, "float32"))
        self.assertEqual(np.abs(array(pruned.search.log_ratio)).max(), 0.0)
        self.assertGreater(np.abs(baseline()[1].ratios[-1]).max(), MOVED)

    def test_own_loss_in_a_subclass(self):
        class Constant(tf_lossprune.PrunedModel):
            """Learns nothing about its output; asks for large biases."""

            def compute_loss(self, *args, **kwargs):
                return -keras.ops.sum(self.trainable_weights[-1])

        model = subclassed(Constant)(small.prune(small.network()))
        small.compile_model(model, SGD(RATE), metrics=[])
        before = array(model.trainable_weights[-1])
        small.fit(model)
        moved = array(model.trainable_weights[-1]) - before
        np.testing.assert_allclose(moved, 16 * RATE, rtol=1e-4)
        self.assertEqual(np.abs(array(model.search.log_ratio)).max(), 0.0)
        self.assertEqual(model.phase, "fixed")
        tf_lossprune.strip_pruning(model)

    @pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="the step is in TensorFlow"
    )
    def test_own_step_in_a_subclass(self):
        class OwnStep(tf_lossprune.PrunedModel):
            """The step of the documentation."""

            def train_step(self, data):
                x, y = data
                step = self.begin_step(tf.shape(x)[0])
                with tf.GradientTape() as tape:
                    tape.watch(step.gates)
                    y_pred = self.run_network(x, step.gates, training=True)
                    loss = step.loss(self.compute_loss(x, y, y_pred))
                weights = self.trainable_weights
                by_gates, *by_weights = tape.gradient(loss, [step.gates, *weights])
                self.optimizer.apply(by_weights, weights)
                self.end_step(step, by_gates)
                logs = self.compute_metrics(x, y, y_pred)
                return {**logs, **self.search_logs(step)}

        keras.utils.set_random_seed(1)
        model = subclassed(OwnStep)(small.prune(small.network()))
        small.compile_model(model, SGD(RATE))
        watch = Watch()
        history = small.fit(model, callbacks=[watch]).history
        self.assertEqual(history["phase"], [0.0, 1.0, 1.0, 2.0])
        expected, other = baseline()
        np.testing.assert_allclose(watch.ratios, other.ratios, atol=1e-5)
        for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    def test_batch_by_batch(self):
        """`train_on_batch` needs to be told how long it will be, and when to decide."""
        x, y = small.data()
        expected, watch = baseline()
        keras.utils.set_random_seed(1)
        pruned = small.compile_model(
            small.prune(small.network(), schedule=small.schedule(statistics_batches=0)),
            SGD(RATE),
        )
        total = small.EPOCHS * small.STEPS
        pruned.begin(total)
        for step in range(total):
            if step == pruned.search_end:
                pruned.decide()
            part = slice(step % small.STEPS * small.BATCH, None)
            logs = pruned.train_on_batch(
                x[part][: small.BATCH], y[part][: small.BATCH], return_dict=True
            )
        self.assertEqual(float(logs["phase"]), 2.0)
        np.testing.assert_array_equal(array(pruned.search.log_ratio), watch.ratios[-1])
        self.assertEqual(pruned.kept_channels(), expected.kept_channels())


def subclassed(klass):
    """Turns a `PrunedModel` into one of a subclass, as the documentation says."""

    def wrap(pruned):
        model = klass.from_config(pruned.get_config())
        model.set_weights(pruned.get_weights())
        return model

    return wrap
