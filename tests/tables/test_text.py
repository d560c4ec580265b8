"""Tables as a reader sees them."""

import doctest

import pytest

from tf_lossprune.tables import comparison_table, ratio_table, text

DENSE = {
    "accuracy": 0.9396,
    "macs": 40_812_544,
    "params": 273_754,
    "tflite_bytes": 1_100_284,
    "arena_bytes": 103_488,
    "latency_ms": 0.68,
}
COMPACT = {
    "accuracy": 0.935,
    "macs": 20_406_272,
    "params": 999,
    "tflite_bytes": 550_142,
    "arena_bytes": 51_744,
    "latency_ms": 0.34,
}


def test_comparison_of_all_figures():
    lines = [line.split() for line in comparison_table(DENSE, COMPACT).splitlines()]
    assert lines == [
        ["dense", "compact", "compact", "/", "dense"],
        ["accuracy", "93.96", "%", "93.50", "%", "-0.46", "points"],
        ["MACs", "40.81", "M", "20.41", "M", "0.500×"],
        ["parameters", "273.8", "k", "999", "0.004×"],
        [".tflite", "file", "1.1", "MB", "550.1", "kB", "0.500×"],
        ["arena", "103.5", "kB", "51.7", "kB", "0.500×"],
        ["time", "per", "sample", "0.680", "ms", "0.340", "ms", "0.500×"],
    ]


def test_columns_are_aligned():
    lines = comparison_table(DENSE, COMPACT).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_only_common_figures_appear():
    table_text = comparison_table(
        {"macs": 2e9, "loss": 1.0}, {"macs": 1e9, "params": 1}
    )
    assert "2 G" in table_text
    assert "loss" not in table_text
    assert "parameters" not in table_text


def test_a_zero_has_no_ratio():
    assert comparison_table({"macs": 0}, {"macs": 0}).endswith(" -")


def test_wrong_figures():
    with pytest.raises(TypeError, match="Expected compact as a dict.*Received: 3"):
        comparison_table(DENSE, 3)
    with pytest.raises(ValueError, match="figures in common.*Received: "):
        comparison_table({"macs": 1}, {"params": 1})


def test_ratios_with_bars():
    text = ratio_table(
        [
            {"name": "stem", "kept": 16, "total": 16, "ratio": 1.0},
            {"name": "a_long_name", "kept": 1, "total": 4},
            {"name": "tiny", "kept": 1, "total": 512},
        ]
    )
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["stem", "16/16", "1.000", "#" * 24]
    assert lines[2] == ["a_long_name", "1/4", "0.250", "#" * 6]
    assert lines[3] == ["tiny", "1/512", "0.002", "#"]


@pytest.mark.parametrize(
    ("groups", "error"),
    [
        ([], ValueError),
        ([{"name": "a", "kept": 1}], ValueError),
        ([{"name": "a", "kept": 0, "total": 0}], ValueError),
        ([("a", 1, 2)], TypeError),
        ({"name": "a", "kept": 1, "total": 2}, TypeError),
        ("groups", TypeError),
    ],
)
def test_wrong_groups(groups, error):
    with pytest.raises(error, match="Received: "):
        ratio_table(groups)


def test_examples_of_the_docstrings():
    results = doctest.testmod(text, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted == 2
    assert results.failed == 0
