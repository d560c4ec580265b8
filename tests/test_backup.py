"""A run that is interrupted goes on where it was."""

import os
import pathlib
import shutil
import signal
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from tf_lossprune.backup import Backup


class Batches(keras.utils.PyDataset):
    """Six batches that are the same in every pass."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        x = rng.normal(size=(8, 8, 8, 1)).astype("float32")
        return x, rng.integers(0, 10, 8)


class At(keras.callbacks.Callback):
    """Calls a function after a number of steps."""

    def __init__(self, step, function):
        super().__init__()
        self.step, self.function, self.seen = step, function, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.step:
            self.function()


def stop():
    raise KeyboardInterrupt


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def network():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, use_bias=False, name="first")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.1)(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def compress(backup=None, callbacks=(), **options):
    keras.utils.set_random_seed(0)
    model = network()
    settings = {
        "epochs": 5,
        "search_epochs": 3,
        "optimizer": keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(0.02, 30), momentum=0.9
        ),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy"],
        "verbose": 0,
        "jit_compile": False,
    }
    return tf_lossprune.compress(
        model,
        {"macs": 0.5},
        Batches(),
        backup=backup,
        callbacks=list(callbacks),
        **{**settings, **options},
    )


class BackupTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.folder = self.root / "state"

    def check(self, stops, **options):
        """Stops at the ends of passes, goes on, compares with one run."""
        expected, wanted = compress(**options)
        handler, done = signal.getsignal(signal.SIGINT), 0
        for step, function in stops:
            # SIGINT is held back until the step is over and saved; a kill is not.
            killed = function is stop
            backup = Backup(self.folder, interval=0.0 if killed else 1e9)
            with self.assertRaises(KeyboardInterrupt):
                compress(backup, [At(step - done + killed, function)], **options)
            self.assertIs(signal.getsignal(signal.SIGINT), handler)
            done = step
        last = At(1, lambda: None)
        actual, result = compress(self.folder, [last], **options)
        self.assertEqual(last.seen, 30 - done)
        self.assertFalse(self.folder.exists())
        # Layers without a name of their own are called otherwise in each model.
        for found, group in zip(result.groups, wanted.groups, strict=True):
            for key in found.keys() - {"through", "consumers"}:
                self.assertEqual(found[key], group[key])
        for a, b in zip(expected.get_weights(), actual.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        for part in ("search", "fine_tune"):
            self.assertEqual(set(result.history[part]), set(wanted.history[part]))

    def test_interrupted_in_the_fine_tuning(self):
        self.check([(24, interrupt)], distill=False)

    @pytest.mark.long
    def test_interrupted_twice(self):
        self.check([(12, interrupt), (24, interrupt)])

    @parameterized.parameters(12, 24)
    @pytest.mark.long
    def test_a_killed_run_goes_on(self, step):
        self.check([(step, stop)])

    @pytest.mark.long
    def test_interrupted_while_it_learns_from_the_dense_model(self):
        self.check([(24, interrupt)], distill=True)

    @pytest.mark.long
    def test_what_is_kept_is_not_trained_again(self):
        backup = Backup(self.folder, keep=True)
        first, _ = compress(backup)
        count = At(1, lambda: None)
        second, result = compress(Backup(self.folder, keep=True), [count])
        self.assertEqual(count.seen, 0)
        self.assertLen(result.history["fine_tune"]["loss"], 2)
        for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_wrong_folders(self):
        with self.assertRaisesRegex(TypeError, "a path or a Backup.*Received: 3"):
            compress(3)
        with self.assertRaises(KeyboardInterrupt):
            compress(Backup(self.folder, interval=0.0), [At(3, stop)])
        with self.assertRaisesRegex(ValueError, "'search_steps' differs.*Received: 6"):
            compress(self.folder, search_epochs=1)
        (self.folder / "state.json").write_text("{")
        with self.assertRaisesRegex(ValueError, "damaged state.json"):
            compress(self.folder)
        (self.folder / "state.json").unlink()  # killed in its first save
        with self.assertRaises(KeyboardInterrupt):
            compress(self.folder, [At(1, stop)])
        (self.root / "notes.txt").write_text("mine")
        with self.assertRaisesRegex(ValueError, "empty or written by"):
            compress(self.root)
