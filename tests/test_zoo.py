"""Every network of keras.applications: exact, on budget, nothing frozen in vain."""

import pytest
from absl.testing import parameterized

from benchmarks import zoo

#: In the short target; the others are in the long one.
SHORT = ("MobileNetV3Small",)
#: Largest share of the MACs in layers none of whose channels can go.
FROZEN = {"ConvNeXt": 0.4}
USUAL_FROZEN = 0.1


class ZooTest(parameterized.TestCase):
    @parameterized.parameters([(name,) for name in SHORT])
    def test_network(self, name):
        self.check(name)

    @parameterized.parameters(*sorted(set(zoo.constructors()) - set(SHORT)))
    @pytest.mark.long  # below: the mark is the function's, which is copied
    def test_other_network(self, name):
        self.check(name)

    def check(self, name):
        row = zoo.check(name)
        self.assertLessEqual(row["ratio"], 0.5)
        self.assertGreaterEqual(row["ratio"], 0.485)
        self.assertTrue(row["stock"])
        self.assertLessEqual(row["at_minimum"], 0.4 * row["groups"])
        limits = [v for k, v in FROZEN.items() if name.startswith(k)]
        self.assertLessEqual(row["frozen_share"], (limits or [USUAL_FROZEN])[0])
        if name not in zoo.LARGE:
            self.assertLess(row["error"], 1e-4)
            self.assertLess(row["loaded_error"], 1e-6)
            self.assertLess(row["litert_error"], 1e-3)
            self.assertLessEqual(row["profiled_ratio"], 0.5)

    def test_all_constructors_are_there(self):
        self.assertGreaterEqual(len(zoo.constructors()), 38)
        self.assertContainsSubset(zoo.LARGE, zoo.constructors())
