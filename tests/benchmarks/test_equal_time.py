"""The parts of the comparison at equal time that need no clock."""

import pytest

from benchmarks import equal_time


def test_macs_that_take_a_share_of_the_time():
    def found(share):
        return equal_time.macs_for(share, [0.8, 0.4, 0.5, 0.3], (0.7, 0.5, 0.3, 0.2))

    # The second and third are out of order by noise.
    assert found(0.5) == pytest.approx(0.5) and found(0.4) == pytest.approx(0.3)
    assert found(0.9) == pytest.approx(0.85)
    assert found(0.1) == pytest.approx(0.2)  # none is as fast: the smallest


def test_table_of_equal_times():
    def row(precision, by_time, taken):
        return {
            "cell": {"arch": "resnet20:16", "precision": precision},
            "asked": {"macs": 0.4, "latency_ms": 0.5},
            "accuracy": {"dense": 80.0, "macs": 75.0, "latency_ms": by_time},
            "fraction": {"macs": 0.4, "latency_ms": 0.45},
            "ms": {"dense": 2.0, "macs": 1.0, "latency_ms": taken},
        }

    rows = [row("fp32", 76.0, 0.95), row("int8", 77.0, 0.9)]
    for first, taken in zip(list(rows), (0.96, 1.01)):
        ms = {"dense": 2.0, "macs": 1.0, "latency_ms": taken}
        rows.append({"anew": first["cell"], "ms": ms})
    *_, fp32, int8, _, summary = equal_time.table(rows).splitlines()
    assert fp32.endswith("| 75.00 | 76.00 | 0.500 | 0.400 | 0.450 | 0.950 | 0.960 |")
    assert int8.endswith("| 0.900 | 1.010 |")
    assert "+1.50 ± 0.50 points" in summary and summary.endswith("time: 1 of 2.")
    assert "0 of" not in equal_time.table([])
