"""How limits are written."""

import keras
from absl.testing import parameterized

import tf_lossprune
from tf_lossprune import Budget
from tf_lossprune.budget_text import parse_budget


class Fixed:
    """A cost of 1000 at full widths, of 100 at the smallest."""

    dense = 1000.0

    def total(self, kept):
        return 100.0


class BudgetTest(parameterized.TestCase):
    @parameterized.parameters(
        ("macs", 0.5, 0.5),
        ("macs", 1.0, 1.0),
        ("macs", "50%", 0.5),
        ("macs", "100 %", 1.0),
        ("macs", 2_000_000, 2000.0),
        ("macs", "300", 0.3),
        ("macs", "0.4k", 0.4),
        ("params", "1.5M", 1500.0),
        ("size_bytes", "300 B", 0.3),
        ("size_bytes", "0.5kB", 0.5),
        ("size_bytes", "0.5KB", 0.5),
        ("peak_memory_bytes", "0.5 KiB", 0.512),
        ("peak_memory_bytes", 1e3, 1.0),
    )
    def test_limits(self, name, limit, share):
        budget = Budget({name: limit})
        self.assertAlmostEqual(
            budget.allowed(name, Fixed()), share * 1000.0, delta=1e-6
        )
        found = budget.shares({name: Fixed()})
        self.assertAlmostEqual(found[name], min(share, 1.0))

    def test_a_number_is_a_budget_of_macs(self):
        self.assertEqual(Budget(0.5), Budget({"macs": 0.5}))
        self.assertEqual(Budget(2_000_000), Budget({"macs": 2_000_000}))

    @parameterized.parameters(
        (1, "'100%' or the string '1'"),
        (50.0, "'50%', .*smaller amounts as a string, such as '50'"),
        ("3 apples", "unit"),
        ("110%", "percent"),
        ("0%", "above 0"),
        ("1.2.3", "unit"),
    )
    def test_what_cannot_be_read_names_the_cure(self, limit, text):
        with self.assertRaisesRegex(ValueError, f"{text}.*Received: "):
            Budget({"macs": limit})

    def test_a_whole_number_means_the_same_in_a_shell(self):
        self.assertEqual(Budget(parse_budget("macs=2000000")), Budget(2_000_000))
        with self.assertRaisesRegex(ValueError, "could mean all.*Received: 1"):
            Budget(parse_budget("macs=1"))

    def test_infeasible_names_all_resources(self):
        budget = Budget({"macs": 0.05, "params": 0.5})
        with self.assertRaises(tf_lossprune.InfeasibleBudgetError) as caught:
            budget.check_feasible({"macs": Fixed(), "params": Fixed()}, None)
        self.assertIn("macs=0.1000", str(caught.exception))
        self.assertIn("params=0.1000", str(caught.exception))
        self.assertEqual(caught.exception.smallest, {"macs": 0.1, "params": 0.1})

    def test_resources_of_its_own(self):
        energy = tf_lossprune.resources.LayerTable(
            "energy", {"a": (1, 0, 0, 0)}, unit="uJ"
        )
        budget = Budget({"energy": "50%"}, resources=[energy])
        again = Budget.from_config(budget.get_config())
        self.assertEqual(again, budget)
        self.assertEqual(again.resource("energy").coefficients["a"], [1, 0, 0, 0])
        with self.assertRaisesRegex(ValueError, "resource among.*Received: 'energy'"):
            Budget({"energy": 0.5})
        with self.assertRaisesRegex(TypeError, "Resources.*Received: "):
            Budget({"energy": 0.5}, resources=["energy"])
        config = keras.saving.serialize_keras_object(budget)
        self.assertEqual(keras.saving.deserialize_keras_object(config), budget)
