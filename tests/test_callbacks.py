"""Callbacks that know when the widths are final."""

import glob
import os
import tempfile
import warnings

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from examples import models
from tf_lossprune.callbacks import search_state


def data(count=64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 8, 8, 1)).astype("float32")
    return x, rng.integers(0, 10, count)


def fit(callbacks, epochs=4, search=0.5, **options):
    keras.utils.set_random_seed(0)
    pruned = tf_lossprune.prune_model(
        models.build("resnet", input_shape=(8, 8, 1), width=8, stages=1, blocks=1),
        {"macs": 0.5},
        schedule=tf_lossprune.Schedule(search=search),
        channel_multiple=1,
        **options,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.compile(
        keras.optimizers.SGD(0.01), loss, jit_compile=keras.backend.backend() == "jax"
    )
    x, y = data()
    pruned.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=callbacks)
    return pruned


class CallbacksTest(parameterized.TestCase):
    def test_checkpoint_keeps_no_epoch_from_before_the_budget(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "{epoch}.keras")
            best = tf_lossprune.callbacks.BudgetModelCheckpoint(path, monitor="loss")
            fit([best])
            # The search ends with the second of four epochs.
            names = sorted(os.listdir(folder))
            self.assertEqual(names, ["2.keras", "3.keras", "4.keras"])
            again = keras.models.load_model(os.path.join(folder, names[0]))
            self.assertEqual(again.phase, "fixed")
            dense = again.costs["macs"].dense
            self.assertLessEqual(again.cost()["macs"], 0.5 * dense)

    def test_checkpoint_by_steps(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "{epoch}-{batch}.keras")
            fit([tf_lossprune.callbacks.BudgetModelCheckpoint(path, save_freq=2)])
            epochs = {int(name.split("-")[0]) for name in os.listdir(folder)}
            self.assertEqual(min(epochs), 2)

    def test_early_stopping_waits_for_the_cut(self):
        patient = tf_lossprune.callbacks.BudgetEarlyStopping(
            monitor="phase", mode="min", patience=1, restore_best_weights=True
        )
        pruned = fit([patient], epochs=8)
        self.assertEqual(patient.stopped_epoch, 4)  # the search ends in epoch 3
        self.assertEqual(pruned.phase, "fixed")

    @parameterized.parameters(
        (keras.callbacks.ModelCheckpoint, {"filepath": "x.keras"}, "save_best_only"),
        (keras.callbacks.EarlyStopping, {"monitor": "loss"}, "restore_best_weights"),
    )
    def test_plain_ones_are_warned_of(self, kind, options, setting):
        from tf_lossprune.training.phases import PhaseCallback, with_phases

        with self.assertWarnsRegex(UserWarning, f"tf_lossprune.Budget{kind.__name__}"):
            with_phases([kind(**options, **{setting: True})], PhaseCallback())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with_phases([kind(**options)], PhaseCallback())

    def test_tensorboard(self):
        with tempfile.TemporaryDirectory() as folder:
            pruned = fit([tf_lossprune.callbacks.PruningTensorBoard(folder)])
            files = glob.glob(os.path.join(folder, "train", "*"))
            text = b"".join(open(name, "rb").read() for name in files)
        for name in (
            b"pruning/ratio/stem_conv",
            b"pruning/limit/macs",
            b"pruning/ratios",
        ):
            self.assertIn(name, text)
        state = search_state(pruned)
        self.assertAlmostEqual(state["share/macs"], 0.5, delta=0.05)
        self.assertEqual(state["phase"], 2.0)
        self.assertEqual(state["variance"], 0.0)

    def test_variance_is_held_in_the_search(self):
        class Watch(keras.callbacks.Callback):
            """Keeps the variance of every epoch."""

            def on_epoch_end(self, epoch, logs=None):
                seen.append(search_state(self.model)["variance"])

        seen = []
        fit(
            [Watch()],
            search=1.0,
            importance=tf_lossprune.importances.GroupL2(interval=1),
        )
        # What the schedule starts with, and one undecided channel in each group.
        self.assertLess(max(seen[:3]), 0.03 + 0.25 / 8 + 0.03)
        self.assertGreater(min(seen[:3]), 0.0)
        self.assertEqual(seen[3], 0.0)  # the widths are fixed
