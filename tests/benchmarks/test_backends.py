"""What the comparison of the backends makes of its runs."""

from benchmarks import backends


def _row(backend, seed, final, ratios):
    groups = [{"name": f"g{i}", "ratio": ratio} for i, ratio in enumerate(ratios)]
    return {
        "cell": {"tag": backend, "seed": seed},
        "accuracy": {"dense": 0.99, "cut": 0.9, "final": final},
        "fraction": {"macs": 0.4},
        "groups": groups,
    }


ROWS = [
    _row("tensorflow", 0, 0.97, [0.5, 0.25]),
    _row("jax", 0, 0.98, [0.5, 0.5]),
    _row("tensorflow", 1, 0.99, [1.0, 0.25]),
    _row("jax", 1, 0.98, [0.5, 0.5]),
]


def test_distances():
    assert backends.distances(ROWS) == {
        "tensorflow, other seed": [0.25],
        "jax, other seed": [0.0],
        "other backend, same seed": [0.125, 0.375],
        "other backend, other seed": [0.125, 0.375],
    }


def test_table():
    text = backends.table(ROWS)
    assert "| tensorflow | 2 | 99.00 ± 0.00 | 90.00 ± 0.00 | 98.00 ± 1.41 |" in text
    assert "| other backend, same seed | 2 | 0.250 | 0.125 to 0.375 |" in text
