"""The contract of a training step: a custom loop does what `fit` does."""

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from tests.training import small
from tf_lossprune import methods
from tf_lossprune.training.backends import current_backend
from tf_lossprune.training.program import as_program

SEARCHING = sorted(name for name, kind in methods.METHODS.items() if kind.trains)
#: One of each kind: gates, gates of its own, a penalty, a projection, a ranking.
SHORT = ("loss", "bar", "group_lasso", "admm", "taylor")


def loss_fn(y, y_pred):
    found = keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True)
    return ops.mean(found)


def tensorflow_step(pruned, optimizer):
    """The step of the example; on JAX, that of docs/training.md."""
    from examples.custom_loop import train_step

    return train_step(pruned, loss_fn, optimizer)


def jax_step(pruned, optimizer):
    import jax

    def train(x, y):
        step = pruned.begin_step(len(x), optimizer)
        weights = pruned.trainable_variables
        state = pruned.non_trainable_variables

        def loss_of(values, gates):
            with keras.StatelessScope([*zip(weights, values)]) as scope:
                y_pred = pruned.run_network(x, gates, training=True)
                loss = step.loss(loss_fn(y, y_pred))
            return loss, [scope.get_current_value(v) for v in state]

        gradients = jax.grad(loss_of, argnums=(0, 1), has_aux=True)
        values = [v.value for v in weights]
        (by_weights, by_gates), values = gradients(values, step.gates)
        optimizer.apply(by_weights, weights)
        for variable, value in zip(state, values):
            if value is not None:
                variable.assign(value)
        pruned.end_step(step, by_gates)

    return train


STEPS = {"tensorflow": tensorflow_step, "jax": jax_step}


def method_named(name):
    """The method; penalties as strong as it takes to be seen within a few steps."""
    strong = {"bn_scale": 0.05, "group_lasso": 0.05, "morphnet": 0.05, "ecc": 0.05}
    if name in strong:
        return methods.METHODS[name](strength=strong[name])
    if name == "admm":
        return methods.Admm(rho=0.5, interval=2)
    return name


def made(name, **options):
    keras.utils.set_random_seed(0)
    schedule = small.schedule(statistics_batches=0, **options)
    method = method_named(name)
    return small.prune(small.network(), method=method, schedule=schedule, distill=False)


def looped(pruned, optimizer, epochs=small.EPOCHS):
    """Trains in a loop without `fit`."""
    x, y = small.data()
    optimizer.build(pruned.trainable_variables)
    train = STEPS[keras.backend.backend()](pruned, optimizer)
    total = epochs * small.STEPS
    pruned.begin(total)
    for step in range(total):
        if step == pruned.search_end:
            pruned.decide()
            optimizer = pruned.shrink(optimizer)
            train = STEPS[keras.backend.backend()](pruned, optimizer)
        start = step % small.STEPS * small.BATCH
        part = slice(start, start + small.BATCH)
        train(ops.convert_to_tensor(x[part]), ops.convert_to_tensor(y[part]))
    return pruned


def arrays(variables):
    return {v.path: ops.convert_to_numpy(v.value).copy() for v in variables}


class OwnLoopTest(parameterized.TestCase):
    @parameterized.parameters(*SHORT)
    def test_a_loop_learns_what_fit_learns(self, name):
        self.check_loop(name)

    @parameterized.parameters(*sorted({*SEARCHING} - {*SHORT}))
    @pytest.mark.long
    def test_a_loop_learns_what_fit_learns_by_other_methods(self, name):
        self.check_loop(name)

    def check_loop(self, name):
        fitted = made(name)
        small.compile_model(fitted, keras.optimizers.SGD(0.05, momentum=0.9))
        small.fit(fitted)
        own = looped(made(name), keras.optimizers.SGD(0.05, momentum=0.9))
        self.assertEqual(own.phase, "fixed")
        self.assertEqual(own.kept_channels(), fitted.kept_channels())
        found = arrays([*own.variables, *own.ratio_optimizer.variables])
        wanted = [*fitted.variables, *fitted.ratio_optimizer.variables]
        counters = {v.path for v in fitted.metrics_variables}
        wanted = [v for v in wanted if v.path not in counters]
        self.assertLen(wanted, len(found))
        for value, variable in zip(found.values(), wanted, strict=True):
            np.testing.assert_allclose(
                value,
                ops.convert_to_numpy(variable.value),
                rtol=2e-4,
                atol=2e-5,
                err_msg=variable.path,
            )

    @parameterized.parameters("bn_scale", "group_lasso", "morphnet", "admm", "ecc")
    def test_the_penalty_is_in_the_loss(self, name):
        pruned = made(name)
        pruned.begin(16)
        pruned.search.step.assign(4)  # the warm-up is over
        for variable in pruned.search.learned():  # ECC's shrink what is to go
            variable.assign(np.full(variable.shape, -0.7))
        step = pruned.begin_step(16)
        weight = pruned.trainable_variables[0]
        weight.assign(3.0 * weight.value)  # away from what ADMM projected
        self.assertGreater(float(step.loss(1.0)), 1.01)
        for done in (0, 12):  # the warm-up, and after the search
            pruned.search.step.assign(done)
            pruned.search.fixed.assign(int(done > 0))
            self.assertEqual(float(pruned.begin_step(16).loss(1.0)), 1.0)

    def test_layers_losses_count_once(self):
        """What layers add to the loss is the same on both backends, and plain."""
        options = {"activity_regularizer": "l2", "kernel_regularizer": "l2"}
        found = []
        for pruned in (False, True):
            keras.utils.set_random_seed(0)
            inputs = keras.Input((8,))
            x = keras.layers.Dense(16, activation="relu", **options)(inputs)
            model = keras.Model(inputs, keras.layers.Dense(4, **options)(x))
            if pruned:
                model = small.prune(model, schedule=small.schedule(warmup=0.4))
            small.compile_model(model, keras.optimizers.SGD(0.05))
            history = small.fit(model, epochs=4 if pruned else 1).history
            found.append(history["loss"][0])
        self.assertAlmostEqual(*found, places=4)

    def test_wrong_arguments(self):
        pruned = made("loss")
        for size, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
            with self.assertRaisesRegex(error, "batch_size.*Received"):
                pruned.begin_step(size)
        step = pruned.begin_step(4)
        with self.assertRaisesRegex(TypeError, "begin_step.*Received"):
            pruned.end_step(step.gates, step.gates)
        with self.assertRaisesRegex(ValueError, "shape.*Received"):
            pruned.end_step(step, step.gates[1:])
        pruned.end_step(step, None)
        self.assertEqual(int(pruned.search.step), 1)


class WarmUpTest(parameterized.TestCase):
    """Before the search and after it, nothing of the ratios' optimizer moves."""

    @parameterized.parameters("loss", "bar", "ecc", "variational")
    def test_first_step_is_the_same_after_a_warm_up(self, name):
        found = []
        for warmup in (0, 7):
            pruned = made(name)
            pruned.search.warmup_steps.assign(warmup)
            pruned.search.search_steps.assign(50)
            pruned.search.multipliers.assign([1.0])
            rng = np.random.default_rng(0)
            for step in range(warmup + 2):
                if step == warmup:  # the same draws from here on
                    pruned.search.seed_generator.state.assign([1, 2])
                    rng = np.random.default_rng(1)
                drawn = pruned.begin_step(16)
                noise = rng.normal(size=drawn.gates.shape).astype("float32")
                pruned.end_step(drawn, noise)
                if step < warmup:
                    self.assertEqual(int(pruned.ratio_optimizer.iterations), 0)
            self.assertEqual(int(pruned.ratio_optimizer.iterations), 2)
            found.append([ops.convert_to_numpy(v.value) for v in self.moved(pruned)])
        for without, after in zip(*found, strict=True):
            np.testing.assert_allclose(after, without, rtol=1e-5, atol=1e-7)
        self.assertGreater(np.abs(found[0][-1]).max(), 0.0)

    def moved(self, pruned):
        return [*pruned.search.learned(), *pruned.ratio_optimizer.variables]

    @parameterized.parameters(False, True)
    def test_nothing_moves_in_fit(self, jit):
        class Counts(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.sync_state()
                seen.append(int(self.model.ratio_optimizer.iterations))

        seen = []
        pruned = small.compile_model(made("loss"), jit_compile=jit)
        small.fit(pruned, callbacks=[Counts()])
        self.assertEqual(seen, [0, 4, 8, 8])

    def test_a_lost_step_does_not_count(self):
        pruned = made("loss")
        pruned.search.search_steps.assign(10)
        step = pruned.begin_step(16)
        pruned.end_step(step, np.full(step.gates.shape, np.nan, "float32"))
        self.assertEqual(int(pruned.ratio_optimizer.iterations), 0)
        self.assertEqual(int(pruned.search.step), 1)

    def test_as_one_program(self):
        pruned = made("loss")
        pruned.search.warmup_steps.assign(2)
        pruned.search.search_steps.assign(10)

        def train(gradient):
            step = pruned.begin_step(16)
            pruned.end_step(step, gradient)
            return step.gates

        train = as_program(train, pruned, often=True)
        gradient = np.ones(pruned.channel_graph.num_units + 1, "float32")
        for count in (0, 0, 1, 2):
            train(ops.convert_to_tensor(gradient))
            self.assertEqual(int(pruned.ratio_optimizer.iterations), count)


class BackendTest(parameterized.TestCase):
    def test_each_backend_is_one_file(self):
        step = current_backend()
        self.assertTrue(issubclass(tf_lossprune.PrunedModel, step))
        self.assertEqual(step.__module__.split(".")[-1], keras.backend.backend())
