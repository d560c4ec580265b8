"""The table of settings against a base run."""

import pytest

from benchmarks import paired


def _row(tag, seed, final):
    cell = {"arch": "a", "width": 1, "budget": "macs=0.5", "seed": seed, "tag": tag}
    return {"cell": cell, "accuracy": {"final": final}}


def test_settings_are_compared_over_the_seeds_that_both_have():
    rows = [_row("default", seed, 0.8 + 0.01 * seed) for seed in range(3)]
    rows += [_row("draw: concrete", seed, 0.81 + 0.01 * seed) for seed in (1, 2)]
    lines = paired.table(rows).splitlines()
    assert lines[2] == "| | default | 3 | 81.00 | |"
    assert lines[3] == "| draw | concrete | 2 | 82.50 | +1.00 ± 0.00 |"
    assert len(lines) == 4
    rows.append(_row("draw: deterministic", 2, 0.81))
    lines = paired.table(rows, "draw: concrete").splitlines()
    assert lines[2] == "| | draw: concrete | 2 | 82.50 | |"
    assert lines[3] == "| draw | deterministic | 1 | 81.00 | -2.00 |"
    assert len(lines) == 4
    with pytest.raises(ValueError, match="Expected a tag among.*Received: 'none'"):
        paired.table(rows, "none")
