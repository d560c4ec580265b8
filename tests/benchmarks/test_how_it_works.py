"""The figures that explain the method show what the search computes."""

import types

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from benchmarks import how_it_works  # noqa: E402


@pytest.mark.parametrize(("ratio", "variance"), [(0.5, 0.05), (0.25, 0.01)])
def test_keep_probabilities(ratio, variance):
    p = how_it_works.keep_probabilities(ratio, variance)
    assert np.all(np.diff(p) <= 0)  # the most important channel first
    np.testing.assert_allclose(p.mean(), ratio, atol=1e-5)
    np.testing.assert_allclose((p * (1 - p)).mean(), variance, rtol=0.05)


def test_a_figure_is_the_same_file_again(tmp_path):
    run = types.SimpleNamespace(
        macs=[1.0, 0.7, 0.5],
        phases=[0, 1, 2],
        ratios=[{"a": 1.0, "b": 1.0}, {"a": 0.9, "b": 0.6}, {"a": 0.8, "b": 0.5}],
    )
    paths = tmp_path / "first.svg", tmp_path / "second.svg"
    for path in paths:
        how_it_works.draw_search(run, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"<svg" in paths[0].read_bytes()
