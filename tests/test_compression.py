"""The whole job in one call."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tf_lossprune
from examples import models


def data(count=96):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 8, 8, 1)).astype("float32")
    return x, rng.integers(0, 10, count)


def network():
    return models.build("resnet", input_shape=(8, 8, 1), width=8, stages=1, blocks=1)


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Batches(keras.utils.PyDataset):
    """Data as a PyDataset."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        x, y = data()
        return x[index * 8 : index * 8 + 8], y[index * 8 : index * 8 + 8]


class Count(keras.callbacks.Callback):
    """Counts training steps and remembers the learning rates."""

    def __init__(self):
        super().__init__()
        self.steps, self.rates = 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.rates.append(float(self.model.optimizer.learning_rate))


class CompressTest(parameterized.TestCase):
    @parameterized.parameters("arrays", "unknown")
    def test_forms_of_data_and_exact_number_of_steps(self, form):
        self.check_form(form)

    @parameterized.parameters("dataset", "pydataset")
    @pytest.mark.long
    def test_other_forms_of_data_and_exact_number_of_steps(self, form):
        self.check_form(form)

    def check_form(self, form):
        x, y = data()
        whole = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        train = {
            "arrays": (x, y),
            "dataset": whole,
            "unknown": whole.filter(lambda a, b: True),
            "pydataset": Batches(),
        }[form]
        model = network()
        weights = model.get_weights()
        count = Count()
        schedule = keras.optimizers.schedules.CosineDecay(0.05, 36)
        compact, result = tf_lossprune.compress(
            model,
            {"macs": 0.5},
            train,
            (x, y),
            epochs=3,
            batch_size=8 if form == "arrays" else None,
            search_epochs=1.25,
            optimizer=keras.optimizers.SGD(schedule),
            loss=cross_entropy(),
            metrics=["accuracy"],
            callbacks=[count],
            verbose=0,
            jit_compile=keras.backend.backend() == "jax",
        )
        self.assertEqual(count.steps, 36)
        # One cosine over search and fine-tuning together. (Where the length is
        # unknown, Keras finds the end of an epoch by one more call.)
        if form != "unknown":
            wanted = [float(schedule(i)) for i in range(1, 37)]
            np.testing.assert_allclose(count.rates, wanted, rtol=1e-3, atol=1e-6)
        share = result.compact["macs"] / result.dense["macs"]
        self.assertLessEqual(share, 0.5)
        self.assertEqual(result.compact["macs"], tf_lossprune.cost(compact)["macs"])
        self.assertIn("accuracy", result.dense)
        self.assertIn("accuracy", result.compact)
        self.assertLen(result.groups, 2)
        # The cut falls into the second epoch.
        self.assertLen(result.history["search"]["loss"], 1)
        self.assertLen(result.history["fine_tune"]["loss"], 2)
        self.assertEqual(result.to_dict()["budget"], {"macs": 0.5})
        for a, b in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_one_shot_methods_fine_tune_all_epochs(self):
        x, y = data()
        count = Count()
        model = network()
        model.compile("sgd", cross_entropy(), metrics=["accuracy"])
        compact, result = tf_lossprune.compress(
            model,
            {"macs": 0.5},
            (x, y),
            epochs=2,
            batch_size=32,
            method="uniform",
            callbacks=[count],
            verbose=0,
            jit_compile=keras.backend.backend() == "jax",
        )
        self.assertEqual(count.steps, 6)
        self.assertEqual(result.history["search"], {})
        self.assertFalse(hasattr(model, "history") and model.history)

    def test_distillation_learns_from_the_dense_model(self):
        """With all the weight on the teacher, labels do not matter."""
        x, y = data(64)
        model = network()
        models.randomize(model, 0)
        found = []
        for labels in (y, (y + 3) % 10):
            keras.utils.set_random_seed(0)
            compact, result = tf_lossprune.compress(
                model,
                {"macs": 0.5},
                (x, labels),
                epochs=4,
                batch_size=16,
                method="uniform",
                distill=1.0,
                loss=cross_entropy(),
                optimizer=keras.optimizers.SGD(0.01),
                verbose=0,
                jit_compile=keras.backend.backend() == "jax",
            )
            found.append(compact.get_weights())
            # A divergence of distributions; on raw logits it could be negative.
            distances = result.history["fine_tune"]["distillation_loss"]
            self.assertGreater(min(distances), 0.0)
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)

    def test_statistics_are_reestimated(self):
        x, _ = data(64)
        model = network()
        models.randomize(model, 0)
        tf_lossprune.training.reestimate_statistics(model, [(x, None)])
        first = model.get_layer("stem_conv")(x)
        mean = np.array(first).mean((0, 1, 2))
        variance = np.array(first).var((0, 1, 2))
        bn = model.get_layer("stem_bn")
        np.testing.assert_allclose(np.array(bn.moving_mean), mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(np.array(bn.moving_variance), variance, rtol=1e-3)
        self.assertEqual(bn.momentum, 0.99)
