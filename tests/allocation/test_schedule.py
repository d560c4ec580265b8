"""When what happens in one `fit`, and how long a search is by default."""

import keras
from absl.testing import parameterized

import tf_lossprune
from tests.training import small
from tf_lossprune.allocation.schedule import default_search_steps


class DefaultSearchStepsTest(parameterized.TestCase):
    @parameterized.parameters(
        (1, 1), (100, 30), (600, 180), (1000, 200), (2000, 200), (4000, 400)
    )
    def test_short_trainings_get_enough(self, total, steps):
        self.assertEqual(default_search_steps(total), steps)

    @parameterized.parameters((10000, 1000), (20000, 1000), (10**6, 1000))
    def test_long_trainings_get_no_more(self, total, steps):
        self.assertEqual(default_search_steps(total), steps)


class DefaultScheduleTest(parameterized.TestCase):
    @parameterized.parameters(10, 600, 1300, 4000, 100_000)
    def test_the_rule_holds_for_fit(self, total):
        expected = default_search_steps(total)
        self.assertEqual(tf_lossprune.Schedule().steps(total), (0, expected))
        warmup = tf_lossprune.Schedule(warmup=0.5).steps(total)
        self.assertEqual(warmup, (total // 2, expected))

    @parameterized.parameters((0.4, 40), (1.0, 100), (0.001, 1))
    def test_a_share_is_a_share(self, share, steps):
        self.assertEqual(tf_lossprune.Schedule(search=share).steps(100), (0, steps))

    @parameterized.parameters((100, 20), (300, 60), (20000, 60), (1, 1))
    def test_a_search_on_frozen_weights_is_short(self, total, steps):
        schedule = tf_lossprune.Schedule(frozen_search=True)
        self.assertEqual(schedule.steps(total), (0, steps))
        schedule = tf_lossprune.Schedule(frozen_search=True, search=0.5)
        self.assertEqual(schedule.steps(100), (0, 50))

    @parameterized.parameters((1000, 90), (50, 50))
    def test_the_search_in_steps(self, total, steps):
        schedule = tf_lossprune.Schedule(search_steps=90)
        self.assertEqual(schedule.steps(total), (0, steps))

    @parameterized.named_parameters(
        ("both", {"search": 0.1, "search_steps": 9}, ValueError, "not both"),
        ("none", {"search_steps": 0}, ValueError, "search_steps"),
        ("half", {"search_steps": 1.5}, TypeError, "search_steps"),
        ("word", {"frozen_search": "yes"}, ValueError, "frozen_search.*'yes'"),
    )
    def test_wrong_settings(self, options, error, message):
        with self.assertRaisesRegex(error, message):
            tf_lossprune.Schedule(**options)

    @parameterized.parameters((0.9, 10, (9, 1)), (0.99, 10, (9, 1)), (0.5, 1, (0, 1)))
    def test_a_search_has_a_step(self, warmup, total, steps):
        self.assertEqual(tf_lossprune.Schedule(warmup=warmup).steps(total), steps)

    def test_saved_and_loaded(self):
        for given in (
            tf_lossprune.Schedule(),
            tf_lossprune.Schedule(search=0.4),
            tf_lossprune.Schedule(search_steps=70, frozen_search=True),
        ):
            config = keras.saving.serialize_keras_object(given)
            again = keras.saving.deserialize_keras_object(config)
            self.assertEqual(again.get_config(), given.get_config())
            self.assertEqual(again.steps(5000), given.steps(5000))

    def test_fit_and_compress_search_equally_long(self):
        x, y = small.data()
        given = {"method": "loss", "channel_multiple": 1}
        pruned = tf_lossprune.prune_model(small.network(), {"macs": 0.5}, **given)
        history = small.fit(small.compile_model(pruned), epochs=5).history
        self.assertEqual(pruned.search_end, default_search_steps(5 * small.STEPS))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        _, result = tf_lossprune.compress(
            small.network(),
            {"macs": 0.5},
            (x, y),
            batch_size=small.BATCH,
            epochs=5,
            optimizer="sgd",
            loss=loss,
            jit_compile=False,
            verbose=0,
            **given,
        )
        searched = sum(phase == 1.0 for phase in history["phase"])
        self.assertLen(result.history["search"]["loss"], searched)
