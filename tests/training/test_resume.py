"""A run that was broken off and goes on ends like one that was not."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from tests.training import small

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERAS = keras.callbacks.BackupAndRestore
SAFE = tf_lossprune.callbacks.SafeBackupAndRestore


class Killed(BaseException):
    """Stands for the end of the process: nothing else of the run happens."""


class Kill(keras.callbacks.Callback):
    """Ends the run after a number of steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Killed


def make(seed=0, **options):
    """A pruned model with all kinds of state: dropout, moments, scales, averages."""
    keras.utils.set_random_seed(seed)
    pruned = small.prune(
        small.network(dropout=0.3),
        constraint=tf_lossprune.constraints.AugmentedLagrangian(),
        importance=tf_lossprune.importances.Taylor(interval=3),
        **options,
    )
    inner = keras.optimizers.Adam(0.01, use_ema=True)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, dynamic_growth_steps=3)
    return small.compile_model(pruned, optimizer)


def trained(*callbacks, pruned=None, **options):
    """A model after the whole training."""
    pruned = pruned or make()
    small.fit(pruned, callbacks=list(callbacks), **options)
    return pruned


def killed(steps, *callbacks, pruned=None):
    """Trains, and is killed after a number of steps."""
    try:
        trained(*callbacks, Kill(steps), pruned=pruned)
    except Killed:
        return
    raise AssertionError("The run was over before it was killed.")


class ResumeTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        done = trained()
        cls.expected = small.state(done)
        cls.kept = done.kept_channels()

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.backup = os.path.join(self.folder, "backup")

    def check_equal(self, pruned):
        small.assert_same(self.expected, small.state(pruned))
        self.assertEqual(pruned.kept_channels(), self.kept)

    # Epochs: warm-up, two of search, fine-tuning; four steps each.
    @parameterized.parameters((KERAS, 10), (SAFE, 14))
    def test_a_backup_goes_on_as_if_nothing_had_happened(self, callback, steps):
        self.check_backup(callback, steps)

    @pytest.mark.long
    def test_a_backup_of_the_warm_up_goes_on_as_if_nothing_had_happened(self):
        self.check_backup(SAFE, 6)

    def check_backup(self, callback, steps):
        killed(steps, callback(self.backup))
        resumed = trained(callback(self.backup), pruned=make(seed=9))
        self.check_equal(resumed)
        self.assertFalse(os.path.exists(self.backup))

    def test_a_checkpoint_goes_on_where_it_was(self):
        path = os.path.join(self.folder, "{epoch}.keras")
        killed(11, keras.callbacks.ModelCheckpoint(path))
        self.assertEqual(sorted(os.listdir(self.folder)), ["1.keras", "2.keras"])
        keras.utils.set_random_seed(9)
        resumed = keras.models.load_model(path.format(epoch=2))
        self.assertEqual(resumed.phase, "search")
        self.check_equal(trained(pruned=resumed, initial_epoch=2))

    def test_length_unknown(self):
        """The first epoch tells how long one is, and the backup knows that."""

        def batches():
            x, y = small.data()
            for start in range(0, len(x), small.BATCH):
                part = slice(start, start + small.BATCH)
                yield x[part], y[part]

        import tensorflow as tf

        signature = (
            tf.TensorSpec((small.BATCH, 8), "float32"),
            tf.TensorSpec((small.BATCH,), "int64"),
        )

        class Phases(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                self.model.phases = []

            def on_train_batch_end(self, batch, logs=None):
                self.model.phases.append(self.model.phase)

        def run(kill=None):
            data = tf.data.Dataset.from_generator(batches, output_signature=signature)
            pruned = make()
            callbacks = [Phases(), SAFE(self.backup, delete_checkpoint=False)]
            callbacks += [Kill(kill)] if kill else []
            try:
                small.fit(pruned, x=data, y=None, batch_size=None, callbacks=callbacks)
            except Killed:
                pass
            return pruned.phases

        run(kill=6)
        # From the second epoch on: the search ends with the third.
        self.assertEqual(run(), ["search"] * 7 + ["fixed"] * 5)

    def test_steps_that_keras_repeats_do_not_break_the_budget(self):
        """Saved within an epoch, Keras starts the epoch anew: the phases go on."""
        killed(11, KERAS(self.backup, save_freq=2))
        pruned = make(seed=9)
        steps = []

        class Steps(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                phase = pruned.phase  # on JAX, this fetches the counters as well
                steps.append((int(pruned.search.step), phase))

        trained(KERAS(self.backup, save_freq=2), Steps(), pruned=pruned)
        self.assertEqual(steps[0], (11, "search"))
        self.assertEqual([s for s, phase in steps if phase == "search"], [11])
        self.assertLessEqual(
            pruned.cost()["macs"], small.SHARE * pruned.costs["macs"].dense
        )

    def test_a_kill_between_any_two_files_loses_at_most_an_epoch(self):
        """Whatever moment of the second backup it hits, one of both is whole."""
        pruned = make()
        moments = [
            "keras.Model.save_weights",
            "os.fsync",
            "os.replace",
            "json.dump",
            "os.remove",
        ]
        for name in moments:
            for call in range(2):
                shutil.rmtree(self.backup, ignore_errors=True)
                callback = SAFE(self.backup)
                callback.set_model(pruned)
                pruned.search.step.assign(1)
                callback.on_epoch_end(0)
                pruned.search.step.assign(2)
                with self._killed_in(name, call):
                    try:
                        callback.on_epoch_end(1)
                    except Killed:
                        pass
                again = SAFE(self.backup)
                again.set_model(pruned)
                pruned.search.step.assign(77)
                pruned._initial_epoch = None
                again.on_train_begin()
                epoch = pruned._initial_epoch
                self.assertIn(epoch, (1, 2), name)
                self.assertEqual(int(pruned.search.step), epoch, name)
        pruned._initial_epoch = None

    def _killed_in(self, name, call):
        """Breaks the `call`-th call of a function off, having half done its work."""
        if name == "keras.Model.save_weights":
            original = keras.Model.save_weights

            def half(model, path, **options):
                original(model, path, **options)
                os.truncate(path, os.path.getsize(path) // 2)
                raise Killed

            return mock.patch.object(keras.Model, "save_weights", half)
        module, function = {"os": os, "json": json}[name.split(".")[0]], name[3:]
        function = name.split(".")[1]
        original, calls = getattr(module, function), []

        def wrapped(*args, **options):
            calls.append(args)
            if len(calls) > call:
                raise Killed
            return original(*args, **options)

        return mock.patch.object(module, function, wrapped)

    def test_no_backup_of_ruined_weights(self):
        pruned = make()
        callback = SAFE(self.backup)
        callback.set_model(pruned)
        callback.on_epoch_end(0)
        weight = pruned.trainable_weights[0]
        good = np.array(weight.value)
        weight.assign(np.full(weight.shape, np.nan))
        callback.on_epoch_end(1)
        callback.on_train_end()
        again = SAFE(self.backup)
        again.set_model(pruned)
        again.on_train_begin()
        np.testing.assert_array_equal(np.array(weight.value), good)
        self.assertEqual(pruned._initial_epoch, 1)


class CheckpointErrorsTest(parameterized.TestCase):
    """Files that are torn or foreign: a clear error, and nothing has changed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pruned = small.compile_model(small.prune(small.network()))

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "w.weights.h5")

    def check_refused(self, kind, text, load=None):
        before = small.state(self.pruned)
        with self.assertRaises(kind) as caught:
            (load or self.pruned.load_weights)(self.path)
        self.assertIn(text, str(caught.exception))
        self.assertIn("Received: ", str(caught.exception))
        small.assert_same(before, small.state(self.pruned))

    @parameterized.parameters(0.0, 0.01, 0.5, 0.99)
    def test_torn_weights(self, share):
        self.pruned.save_weights(self.path)
        os.truncate(self.path, int(share * os.path.getsize(self.path)))
        self.check_refused(OSError, "SafeBackupAndRestore")

    def test_scrambled_weights(self):
        self.pruned.save_weights(self.path)
        with open(self.path, "rb+") as file:
            file.seek(2000)
            file.write(os.urandom(4000))
        before = small.state(self.pruned)
        with self.assertRaises((OSError, ValueError)) as caught:
            self.pruned.load_weights(self.path)
        self.assertIn("Received: ", str(caught.exception))
        small.assert_same(before, small.state(self.pruned))

    @parameterized.named_parameters(
        ("plain", lambda: small.network(), "made by `prune_model`"),
        ("wider", lambda: small.prune(small.network(width=24)), "same groups"),
        (
            "budget",
            lambda: tf_lossprune.prune_model(small.network(), {"macs": 0.9}),
            "for the same budget",
        ),
        (
            "resource",
            lambda: tf_lossprune.prune_model(small.network(), {"params": 0.5}),
            "for the same budget",
        ),
        (
            "budgets",
            lambda: tf_lossprune.prune_model(
                small.network(), {"macs": 0.5, "params": 0.5}
            ),
            "for the same budget",
        ),
    )
    def test_foreign_weights(self, other, text):
        other().save_weights(self.path)
        self.check_refused(ValueError, text)

    def test_missing_weights(self):
        with self.assertRaises(FileNotFoundError):
            self.pruned.load_weights(self.path)

    @parameterized.parameters("", "{", "[]", '{"epoch": 3}', '{"weights": 1}')
    def test_foreign_backup(self, text):
        path = os.path.join(self.folder, "state.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        callback = SAFE(self.folder)
        callback.set_model(self.pruned)
        self.check_refused(ValueError, "another", lambda _: callback.on_train_begin())

    @parameterized.parameters(0.0, 0.5, 0.95)
    def test_torn_model(self, share):
        """Keras finds these out itself."""
        path = os.path.join(self.folder, "model.keras")
        self.pruned.save(path)
        os.truncate(path, int(share * os.path.getsize(path)))
        with self.assertRaisesRegex(ValueError, "`.keras` zip file"):
            keras.models.load_model(path)

    def test_plain_keras_loads_a_wrapped_model_after_the_import(self):
        """And without it, the error names the class and the module to import."""
        path = os.path.join(self.folder, "model.keras")
        self.pruned.save(path)
        code = (
            "import sys, keras\n"
            "try:\n    keras.models.load_model(sys.argv[1])\n"
            "except TypeError as error:\n    text = str(error)\n"
            "assert \"Could not locate class 'PrunedModel'\" in text\n"
            "assert 'imported' in text and 'tf_lossprune.training.model' in text\n"
            "import tf_lossprune\n"
            "print(keras.models.load_model(sys.argv[1]).phase)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.split()[-1], "warmup")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
class KilledTest(parameterized.TestCase):
    """SIGKILL at random moments: start, steps, the middle of writing a backup."""

    @pytest.mark.long
    def test_a_run_that_was_killed_ends_like_one_that_was_not(self):
        kills = 20
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "tests.training.killed_runs"]
                + [folder, f"--kills={kills}"],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            met = json.loads(done.stdout.splitlines()[-1])
            found = [
                dict(np.load(os.path.join(folder, f"{name}.npz")))
                for name in ("peaceful", "killed")
            ]
        self.assertLen(met, kills)
        self.assertGreater(sum(life["steps"] for life in met), kills)
        peaceful, again = found
        self.assertLess(peaceful["widths"].sum(), 8 + 16)
        self.assertEqual(peaceful.keys(), again.keys())
        for name, expected in peaceful.items():
            np.testing.assert_array_equal(again[name], expected, name)
