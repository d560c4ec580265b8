"""What the comparison of smallest networks reads off its lines."""

import pytest

from benchmarks import smallest


def row(**accuracies):
    """A line: percent right by share of the MACs, the dense network's first."""
    names = ["dense", *(name[1:].replace("_", ".") for name in accuracies)][1:]
    values = {"dense": 90.0, **dict(zip(names, accuracies.values()))}
    fraction = {n: 1.0 if n == "dense" else float(n) for n in values}
    cell = {"network": "resnet8", "method": "loss", "seed": 0}
    return {"cell": cell, "accuracy": values, "fraction": fraction}


def test_the_smallest_is_between_the_last_that_is_good_enough_and_the_next():
    found = smallest.smallest(row(_0_5=89.5, _0_25=87.5), 1.0)
    assert found == pytest.approx(0.5 - 0.25 * 0.25)
    assert smallest.smallest(row(_0_5=91.0, _0_25=89.0), 1.0) == 0.25
    # Even the largest one loses more: between it and the dense one.
    assert smallest.smallest(row(_0_5=88.0), 1.0) == pytest.approx(0.75)


def test_table():
    text = smallest.table([row(_0_5=89.5, _0_25=87.5)], 1.0)
    assert text.endswith("| resnet8 | loss | 0 | 90.0 | 89.5 | 87.5 | 0.438 |")
