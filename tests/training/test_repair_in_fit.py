"""The repair at the cut, as users meet it: in `fit`, `strip_pruning` and `compress`."""

import functools
import tempfile
import warnings
from unittest import mock

import keras
import numpy as np
from absl.testing import parameterized

import tf_lossprune
from tests.training import small
from tf_lossprune.training import nearer
from tf_lossprune.training.closeness import Closeness

layers = keras.layers


@functools.cache
def trained():
    """A network that has learned its data; no test changes it."""
    keras.utils.set_random_seed(0)
    model = small.compile_model(small.network(), keras.optimizers.Adam(0.02))
    x, y = small.data(256)
    model.fit(x, y, batch_size=16, epochs=12, verbose=0)
    return model, x, y


def pruned_once(model, **options):
    return small.prune(model, method="uniform", schedule=None, **options)


def distance(model, other, x):
    a, b = (m.predict(x, verbose=0) for m in (model, other))
    return float(np.square(a - b).mean())


class RepairInFitTest(parameterized.TestCase):
    def test_fit_repairs_the_network_of_a_one_shot_method_at_the_cut(self):
        """With a learning rate of 0, all that is left is the repair."""
        model, x, y = trained()
        found = {}
        for repair in ("auto", "least_squares", None):
            pruned = pruned_once(model, repair=repair)
            small.compile_model(pruned, keras.optimizers.SGD(0.0))
            with mock.patch.object(nearer, "Closeness", wraps=Closeness) as judge:
                pruned.fit(x, y, batch_size=16, epochs=1, verbose=0)
            if repair:  # the compiled loss says that the outputs are classes
                (output,) = Closeness(*judge.call_args.args).outputs
                self.assertEqual(output.kind, "categorical")
            found[repair] = distance(model, tf_lossprune.strip_pruning(pruned), x)
        self.assertEqual(found["auto"], found["least_squares"])
        self.assertLess(found["auto"], 0.8 * found[None])

    def test_weights_trained_with_gates_are_not_repaired_unless_asked(self):
        model, *_ = trained()
        for repair in ("auto", "least_squares", None):
            pruned = small.prune(model, repair=repair)
            pruned.begin(16)
            for step in (4, 5):  # at the end of the warm-up, and one step later
                pruned.search.step.assign(step)
                asked = repair == "least_squares" or (repair == "auto" and step == 4)
                self.assertEqual(pruned.repairs, asked)

    def test_given_widths_are_repaired_whatever_the_method(self):
        """With a learning rate of 0, all that is left is the repair."""
        model, x, y = trained()
        found = {}
        for repair in ("auto", None):
            widths = {"first": 8, "second": 8}
            pruned = small.prune(model, widths=widths, repair=repair)
            small.compile_model(pruned, keras.optimizers.SGD(0.0))
            pruned.fit(x, y, batch_size=16, epochs=1, verbose=0)
            found[repair] = distance(model, tf_lossprune.strip_pruning(pruned), x)
        self.assertLess(found["auto"], 0.8 * found[None])

    def test_an_unknown_repair_is_refused(self):
        with self.assertRaisesRegex(ValueError, "Expected repair among.*'ridge'"):
            small.prune(small.network(), repair="ridge")

    def test_a_resumed_run_is_not_repaired_twice(self):
        model, x, y = trained()
        pruned = pruned_once(model)
        small.compile_model(pruned, keras.optimizers.SGD(0.0))
        pruned.fit(x, y, batch_size=16, epochs=1, verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/pruned.weights.h5"
            pruned.save_weights(path)
            again = pruned_once(model)
            small.compile_model(again, keras.optimizers.SGD(0.0))
            again.load_weights(path)
        again.fit(x, y, batch_size=16, epochs=1, verbose=0)
        a, b = (tf_lossprune.strip_pruning(p) for p in (pruned, again))
        for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        config = pruned.options.from_config(pruned.options.get_config())
        self.assertEqual(config.repair, "auto")

    def test_a_generator_cannot_be_read_again_for_a_repair_and_says_so(self):
        model, x, y = trained()

        def batches():
            while True:
                yield x[:16], y[:16]

        for repair, said in (("auto", 0), ("least_squares", 1)):
            pruned = pruned_once(model, repair=repair)
            small.compile_model(pruned)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                pruned.fit(batches(), steps_per_epoch=2, verbose=0)
            told = [w for w in caught if "Nothing is repaired" in str(w.message)]
            self.assertLen(told, said)


class WithoutTrainingTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("array", lambda x: x),
        ("batches", lambda x: [x[:100], x[100:]]),
        ("generator", lambda x: (x[i : i + 32] for i in range(0, len(x), 32))),
    )
    def test_strip_pruning_with_inputs_alone_comes_closer_to_the_dense_model(
        self, data
    ):
        model, x, _ = trained()
        cut = tf_lossprune.strip_pruning(pruned_once(model))
        given = data(x)
        if isinstance(given, list):
            given = iter(given)
        repaired = tf_lossprune.strip_pruning(pruned_once(model), calibration=given)
        self.assertEqual(cut.count_params(), repaired.count_params())
        self.assertLess(distance(model, repaired, x), 0.7 * distance(model, cut, x))

    def test_inputs_that_are_all_the_same_change_nothing_and_it_says_so(self):
        """They used to make weights that were right for these alone, and huge."""
        model, x, _ = trained()
        pruned = pruned_once(model)
        cut = tf_lossprune.strip_pruning(pruned)
        for same in (np.ones_like(x), np.zeros_like(x), np.repeat(x[:1], 70, axis=0)):
            with self.assertWarnsRegex(UserWarning, "nothing was repaired. Give"):
                found = tf_lossprune.strip_pruning(pruned, calibration=same)
            for a, b in zip(cut.get_weights(), found.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)

    def test_the_gated_network_and_a_second_delivery_are_as_before(self):
        model, x, _ = trained()
        pruned = pruned_once(model)
        before = [w.copy() for w in pruned.get_weights()]
        first = tf_lossprune.strip_pruning(pruned, calibration=x)
        second = tf_lossprune.strip_pruning(pruned, calibration=x)
        small.assert_same(before, pruned.get_weights())
        small.assert_same(first.get_weights(), second.get_weights())

    def test_a_network_that_fit_has_cut_takes_no_calibration(self):
        model, x, y = trained()
        pruned = small.compile_model(pruned_once(model))
        pruned.fit(x, y, batch_size=64, verbose=0)
        with self.assertRaisesRegex(ValueError, "not been cut yet"):
            tf_lossprune.strip_pruning(pruned, calibration=x)

    @parameterized.parameters(None, "magnitude")
    def test_compress_without_labels_and_without_training(self, method):
        model, x, y = trained()
        bare = keras.models.clone_model(model)
        bare.set_weights(model.get_weights())
        compact, result = tf_lossprune.compress(
            bare, {"macs": 0.5}, calibration=x, epochs=0, method=method,
            channel_multiple=1,
        )  # fmt: skip
        self.assertLessEqual(result.compact["macs"], 0.5 * result.dense["macs"])
        self.assertNotIn("accuracy", result.compact)
        pruned = small.prune(bare, method=method or "uniform", schedule=None)
        cut = tf_lossprune.strip_pruning(pruned)
        self.assertLess(distance(bare, compact, x), 0.7 * distance(bare, cut, x))
        _, result = tf_lossprune.compress(
            model, {"macs": 0.5}, None, (x, y), calibration=x, epochs=0
        )
        self.assertGreater(result.compact["accuracy"], 0.3)

    @parameterized.named_parameters(
        ("no_images", {"epochs": 0}, "at least 1 .or 0"),
        ("images_and_training", {"calibration": [0]}, "with epochs=0"),
        (
            "a_search",
            {"calibration": np.zeros((4, 8)), "epochs": 0, "method": "loss"},
            "such as 'uniform'",
        ),
    )
    def test_compress_says_what_it_needs(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            tf_lossprune.compress(small.network(), {"macs": 0.5}, **options)
