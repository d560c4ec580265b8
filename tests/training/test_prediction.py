"""An order of the channels without labels: how well the others stand in for one."""

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from tf_lossprune import importances
from tf_lossprune.graph import analyze
from tf_lossprune.training.dense_moments import DenseMoments
from tf_lossprune.training.prediction import RIDGE, predicted

layers = keras.layers


def images(shape=(8, 8, 3), count=192):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def convolutions():
    """Of `a`, the last two channels are combinations of the first three."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, use_bias=False, name="a")(inputs)
    x = layers.Conv2D(6, 3, activation="relu", name="b")(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(x)))
    kernel = model.get_layer("a").get_weights()[0]
    kernel[..., 7] = 0.5 * kernel[..., 0] - kernel[..., 1]
    kernel[..., 6] = 2 * kernel[..., 2]
    model.get_layer("a").set_weights([kernel])
    return model


def scores_of(model, data):
    graph = analyze(model)
    found = predicted(graph, DenseMoments(graph, [(data[:100],), (data[100:],)]))
    return {group.name: found[group.units] for group in graph.groups}


class PredictionTest(parameterized.TestCase):
    def test_a_score_is_what_least_squares_cannot_replace(self):
        """Against a direct solution: each channel in turn, from all that are left."""
        keras.utils.set_random_seed(0)
        inputs = keras.Input((5,))
        hidden = layers.Dense(6, activation="relu", name="hidden")(inputs)
        model = keras.Model(inputs, layers.Dense(3, name="head")(hidden))
        data = images((5,))
        x = keras.Model(inputs, hidden).predict(data, verbose=0).astype("float64")
        x -= x.mean(axis=0)
        w = model.get_layer("head").get_weights()[0].astype("float64")
        ridge = RIDGE * np.trace(x.T @ x / len(x)) / 6
        x = np.concatenate([x / np.sqrt(len(x)), np.sqrt(ridge) * np.eye(6)])
        wanted, left, whole, last = np.zeros(6), list(range(6)), x[:-6] @ w, 0.0
        # Replaced again from those that are left, starting from the same outputs.
        before = 0.0
        while left:
            losses = []
            for unit in left:
                rest = [u for u in left if u != unit]
                fit = np.linalg.lstsq(x[:, rest], x @ w, rcond=None)[0]
                losses.append(np.sum((x[:, rest] @ fit - x @ w) ** 2))
            unit = left[int(np.argmin(losses))]
            last = max(last, (min(losses) - before) / np.sum(whole**2))
            wanted[unit], before = last, min(losses)
            left.remove(unit)
        found = scores_of(model, data)["hidden"]
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)

    def test_what_others_make_goes_first_but_not_all_copies_of_it(self):
        found = scores_of(convolutions(), images())["a"]
        first = set(np.argsort(found)[:2])
        self.assertLess(np.sort(found)[1], 0.01)
        self.assertGreater(np.sort(found)[2], 2 * np.sort(found)[1])
        self.assertLen(first & {2, 6}, 1)  # one is twice the other
        self.assertLen(first & {0, 1, 7}, 1)

    def test_a_cut_without_labels_is_closer_than_by_norms(self):
        model, data = convolutions(), images()
        wanted, errors = model.predict(data, verbose=0), []
        for importance in (importances.Prediction(data), "group_l2"):
            pruned = tf_lossprune.prune_model(
                model,
                {"macs": 0.6},
                method="magnitude",
                importance=importance,
                channel_multiple=1,
            )
            compact = tf_lossprune.strip_pruning(pruned, calibration=data)
            found = compact.predict(data, verbose=0)
            errors.append(np.square(found - wanted).mean() / wanted.var())
        self.assertLess(errors[0], 0.7 * errors[1])
        compact, result = tf_lossprune.compress(
            model,
            {"macs": 0.6},
            calibration=(data[i : i + 64] for i in range(0, 192, 64)),
            epochs=0,
            method="magnitude",
            importance="prediction",
            channel_multiple=1,
        )
        self.assertLessEqual(result.compact["macs"], 0.6 * result.dense["macs"])
        found = compact.predict(data, verbose=0)
        error = np.square(found - wanted).mean() / wanted.var()
        self.assertLess(error, 0.7 * errors[1])

    def test_groups_whose_readers_cannot_be_repaired_go_by_their_norms(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 3))
        x = layers.Conv1D(6, 3, name="first")(inputs)
        x = layers.GRU(5, reset_after=False, name="gru")(x)
        graph = analyze(keras.Model(inputs, layers.Dense(2)(x)))
        found = importances.Prediction(images((8, 3)))(graph)
        found = keras.ops.convert_to_numpy(found)
        self.assertTrue((found[1:] > 0).all())

    def test_inputs_are_asked_for_and_scores_are_saved(self):
        with self.assertRaisesRegex(ValueError, "Prediction.images.*Received"):
            tf_lossprune.prune_model(convolutions(), 0.6, importance="prediction")
        model = convolutions()
        given = importances.Prediction(images())
        pruned = tf_lossprune.prune_model(
            model, 0.6, method="magnitude", importance=given
        )
        again = type(pruned).from_config(pruned.get_config())
        np.testing.assert_allclose(
            again.current_importance(), pruned.current_importance(), rtol=1e-6
        )
        with self.assertRaisesRegex(ValueError, "finite activations"):
            importances.Prediction(images() * np.nan)(analyze(model))
