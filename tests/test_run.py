"""How long a search is by default."""

from absl.testing import parameterized

from tf_lossprune.run import default_search_steps


class DefaultSearchStepsTest(parameterized.TestCase):
    @parameterized.parameters(
        (1, 1), (100, 30), (600, 180), (1000, 200), (1300, 200), (4000, 600)
    )
    def test_short_trainings_get_enough(self, total, steps):
        self.assertEqual(default_search_steps(total), steps)

    @parameterized.parameters((6666, 1000), (10000, 1000), (10**6, 1000))
    def test_long_trainings_get_no_more(self, total, steps):
        self.assertEqual(default_search_steps(total), steps)

    @parameterized.parameters((100, 30), (4000, 1200), (10000, 2000))
    def test_share(self, total, steps):
        self.assertEqual(default_search_steps(total, 0.3), steps)
