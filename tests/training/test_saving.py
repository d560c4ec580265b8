"""A wrapped model is saved and loaded with all of its state."""

import shutil
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from examples import models


def data(count=64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 8, 8, 1)).astype("float32")
    return x, rng.integers(0, 10, count)


def make(**options):
    pruned = tf_lossprune.prune_model(
        models.build("resnet", input_shape=(8, 8, 1), width=8, stages=1, blocks=1),
        {"macs": 0.5},
        schedule=tf_lossprune.Schedule(search=0.8, total_steps=32),
        importance=tf_lossprune.importances.Taylor(interval=4),
        constraint=tf_lossprune.constraints.AugmentedLagrangian(),
        ratio_optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        threshold=tf_lossprune.thresholds.GaussianLog(),
        **options,
    )
    pruned.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )
    return pruned


class SavingTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def test_load_continues_where_it_was(self):
        self.check_loading(16)

    @parameterized.parameters(0, 32)
    @pytest.mark.long
    def test_load_continues_before_and_after_the_search(self, steps):
        self.check_loading(steps)

    def check_loading(self, steps):
        x, y = data()
        pruned = make()
        if steps:
            pruned.fit(x, y, batch_size=8, epochs=steps // 8, shuffle=False, verbose=0)
        path = f"{self.folder}/pruned.keras"
        pruned.save(path)
        again = keras.models.load_model(path)
        self.assertEqual(again.phase, pruned.phase)
        self.assertEqual(again.budget, pruned.budget)
        self.assertEqual(again.options.get_config(), pruned.options.get_config())
        for a, b in zip(pruned.variables, again.variables, strict=True):
            np.testing.assert_array_equal(np.array(a), np.array(b), a.path)
        for a, b in zip(
            pruned.ratio_optimizer.variables,
            again.ratio_optimizer.variables,
            strict=True,
        ):
            np.testing.assert_array_equal(np.array(a), np.array(b), a.path)
        for model in (pruned, again):
            model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        for a, b in zip(pruned.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            np.array(pruned.search.log_ratio),
            np.array(again.search.log_ratio),
            atol=1e-5,
        )
        tf_lossprune.strip_pruning(again)

    def test_weights_alone(self):
        x, y = data()
        pruned = make()
        pruned.fit(x, y, batch_size=8, epochs=4, verbose=0)
        pruned.save_weights(f"{self.folder}/w.weights.h5")
        again = make()
        again.load_weights(f"{self.folder}/w.weights.h5")
        self.assertEqual(again.kept_channels(), pruned.kept_channels())
        np.testing.assert_array_equal(
            again.predict(x, verbose=0), pruned.predict(x, verbose=0)
        )

    @parameterized.parameters(
        tf_lossprune.Budget({"macs": 0.5}),
        tf_lossprune.Schedule(warmup=0.1, search=0.3, total_steps=7),
        tf_lossprune.importances.GroupL2(),
        tf_lossprune.importances.L1("first", 3),
        tf_lossprune.importances.BNScale("last"),
        tf_lossprune.importances.Taylor(interval=2),
        tf_lossprune.thresholds.SigmoidLog(),
        tf_lossprune.thresholds.GaussianLog(),
        tf_lossprune.thresholds.ClippedLinear(),
        tf_lossprune.samplers.HardSampler(second_order=False),
        tf_lossprune.samplers.ConcreteSampler(0.2),
        tf_lossprune.samplers.DeterministicSampler(),
        tf_lossprune.constraints.Projection(),
        tf_lossprune.constraints.AugmentedLagrangian(rho=3.0),
    )
    def test_objects_are_registered(self, thing):
        config = keras.saving.serialize_keras_object(thing)
        again = keras.saving.deserialize_keras_object(config)
        self.assertIs(type(again), type(thing))
        self.assertEqual(again.get_config(), thing.get_config())
