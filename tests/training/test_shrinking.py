"""At the cut the network becomes the compact one, and the same `fit` goes on."""

import functools
import os
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from tests.training import small


class Sizes(keras.callbacks.Callback):
    """Trainable weights and optimizer steps at the end of every epoch."""

    def __init__(self):
        super().__init__()
        self.weights, self.steps = [], []

    def on_epoch_end(self, epoch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.weights.append(count(self.model))
        self.steps.append(int(self.model.optimizer.iterations))


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_weights)


def pruned_model(**options):
    keras.utils.set_random_seed(0)
    model = small.prune(small.network(dropout=0.1), **options)
    return small.compile_model(model, keras.optimizers.Adam(0.01))


@functools.cache
def fitted():
    """After the whole training; no test changes it."""
    pruned = pruned_model()
    small.fit(pruned)
    return pruned


class ShrinkingTest(parameterized.TestCase):
    def test_the_same_fit_goes_on_with_the_compact_network(self):
        pruned, sizes = pruned_model(), Sizes()
        dense = count(pruned)
        history = small.fit(pruned, callbacks=[sizes]).history
        self.assertTrue(pruned.is_compact)
        for values in history.values():
            self.assertLen(values, small.EPOCHS)
        self.assertEqual(sizes.steps, [4, 8, 12, 16])
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertEqual(sizes.weights, [dense, dense, count(compact), count(compact)])
        self.assertLess(count(compact), dense)
        slots = [v for v in pruned.optimizer.variables if "momentum" in v.path]
        self.assertEqual(
            [tuple(v.shape) for v in slots],
            [tuple(v.shape) for v in pruned.trainable_variables],
        )
        x, _ = small.data()
        # Compiled apart, the same network may round otherwise on JAX.
        np.testing.assert_allclose(pruned.predict(x), compact.predict(x), 1e-5, 1e-6)

    def test_what_is_learned_before_the_cut_is_not_forgotten(self):
        """Right after it, moments are those of the kept channels."""
        pruned = pruned_model(schedule=small.schedule(search=0.75))

        class Watch(keras.callbacks.Callback):
            found = None

            def on_train_batch_end(self, batch, logs=None):
                if self.model.is_compact or self.found is not None:
                    return
                self.model.sync_state()
                self.before = {
                    tuple(v.shape): keras.ops.convert_to_numpy(v.value).copy()
                    for v in self.model.optimizer.variables
                    if len(v.shape) == 2 and "velocity" in v.path
                }

        watch = Watch()
        small.fit(pruned, callbacks=[watch])
        kept = pruned.kept_units()
        (units,) = (g.units for g in pruned.groups if g.name == "first")
        after = next(
            keras.ops.convert_to_numpy(v.value)
            for v in pruned.optimizer.variables
            if len(v.shape) == 2 and "velocity" in v.path
        )
        # The search ends with the last step; the callback saw the step before it.
        expected = watch.before[(8, 16)][:, kept[units]]
        self.assertEqual(after.shape, expected.shape)
        self.assertGreater(np.corrcoef(after.ravel(), expected.ravel())[0, 1], 0.99)

    def test_a_run_goes_on_at_the_cut(self):
        self.check_killed(3)

    @parameterized.parameters(1, 2)
    @pytest.mark.long
    def test_a_run_goes_on_before_the_cut(self, killed_after):
        self.check_killed(killed_after)

    def check_killed(self, killed_after):
        class Kill(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch + 1 == killed_after:
                    raise KeyboardInterrupt

        with tempfile.TemporaryDirectory() as folder:
            backup = os.path.join(folder, "backup")

            def callback():
                return tf_lossprune.callbacks.SafeBackupAndRestore(backup)

            with self.assertRaises(KeyboardInterrupt):
                small.fit(pruned_model(), callbacks=[callback(), Kill()])
            resumed = pruned_model()
            small.fit(resumed, callbacks=[callback()])
        small.assert_same(small.state(fitted()), small.state(resumed))

    def test_a_file_from_before_the_cut_brings_the_gated_network_back(self):
        pruned = pruned_model()
        with tempfile.TemporaryDirectory() as folder:
            early, late = (os.path.join(folder, f"{n}.weights.h5") for n in "ab")
            small.fit(pruned, epochs=2, steps_per_epoch=2)
            fresh = pruned_model()
            fresh.optimizer.build(fresh.trainable_variables)
            fresh.save_weights(early)
            pruned.save_weights(late)
            x, _ = small.data()
            expected = [fresh.predict(x), pruned.predict(x)]
            self.assertTrue(pruned.is_compact)
            pruned.load_weights(early)
            self.assertFalse(pruned.is_compact)
            np.testing.assert_array_equal(pruned.predict(x), expected[0])
            pruned.load_weights(late)
            self.assertTrue(pruned.is_compact)
            np.testing.assert_array_equal(pruned.predict(x), expected[1])
            small.fit(pruned, epochs=1)

    def test_a_saved_model_is_compact_when_it_is_loaded(self):
        pruned = fitted()
        x, _ = small.data()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            pruned.save(path)
            loaded = keras.models.load_model(path)
        self.assertTrue(loaded.is_compact)
        np.testing.assert_array_equal(loaded.predict(x), pruned.predict(x))
        self.assertEqual(loaded.kept_channels(), pruned.kept_channels())
        small.fit(loaded, epochs=1)

    def test_a_bad_file_changes_nothing(self):
        pruned = fitted()
        other = small.compile_model(small.prune(small.network(width=12)))
        x, _ = small.data()
        expected = pruned.predict(x)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "other.weights.h5")
            other.save_weights(path)
            with self.assertRaises(ValueError):
                pruned.load_weights(path)
        self.assertTrue(pruned.is_compact)
        np.testing.assert_array_equal(pruned.predict(x), expected)

    def test_one_shot_methods_never_train_the_dense_network(self):
        pruned, sizes = pruned_model(method="uniform"), Sizes()
        self.assertFalse(pruned.is_compact)
        small.fit(pruned, callbacks=[sizes])
        self.assertEqual(
            set(sizes.weights), {count(tf_lossprune.strip_pruning(pruned))}
        )

    def test_decided_widths_are_final_after_the_cut(self):
        pruned = pruned_model(method="uniform")
        pruned.shrink()
        with self.assertRaisesRegex(ValueError, "not cut yet.*Received"):
            pruned.decide()
        with self.assertRaisesRegex(ValueError, "Expected fixed widths.*Received"):
            pruned_model().shrink()
