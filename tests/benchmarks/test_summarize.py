"""Tests of the table of accuracy runs and of the files it is made from."""

import pytest
from absl import app

from benchmarks import common, summarize


def _row(seed, final, method="loss", cut=None):
    return {
        "cell": {
            "arch": "resnet20",
            "method": method,
            "budget": "macs=0.25",
            "epochs": 5,
            "seed": seed,
        },
        "accuracy": {"dense": 0.94, "cut": cut, "final": final},
        "fraction": {"macs": 0.25, "params": 0.2},
        "seconds": {"search": 60.0, "total": 100.0},
    }


def test_spread():
    assert summarize.spread([0.92, 0.94]) == "93.00 ± 1.41"
    assert summarize.spread([0.92]) == "92.00"
    assert summarize.spread([None]) == ""


def test_seeds_make_one_line():
    rows = [_row(0, 0.92), _row(1, 0.94), _row(0, 0.9, method="uniform")]
    lines = summarize.table(rows).splitlines()
    assert len(lines) == 4
    assert "| resnet20 | loss | macs=0.25 | 2 |" in lines[2]
    assert "93.00 ± 1.41" in lines[2]
    assert "4.00x fewer" in lines[2]
    assert "| resnet20 | uniform | macs=0.25 | 1 |" in lines[3]
    # Every run has the same number of epochs: not a column.
    assert "epochs" not in lines[0]


def test_settings_that_differ_are_columns():
    other = _row(0, 0.93)
    other["cell"]["epochs"] = 10
    table = summarize.table([_row(0, 0.92), other])
    assert "| epochs |" in table.splitlines()[0]
    assert len(table.splitlines()) == 4


def test_methods_with_settings_are_shown_as_calls():
    assert summarize.method_name("loss") == "loss"
    text = '{"class_name": "Settling", "config": {"rate": 0.03, "end": 0.1}}'
    assert summarize.method_name(text) == "Settling(rate=0.03, end=0.1)"
    lines = summarize.methods_table([_row(0, 0.9, method=text)]).splitlines()
    assert lines[2].startswith("| Settling(rate=0.03, end=0.1) | 90.00 |")


def test_methods_table():
    rows = [_row(0, 0.92), _row(1, 0.94), _row(0, 0.9, method="uniform")]
    tight = _row(0, 0.9)
    tight["cell"]["budget"] = "macs=0.125"
    lines = summarize.methods_table([*rows, tight]).splitlines()
    assert lines[0] == "| method | resnet20 macs=0.25 | resnet20 macs=0.125 | mean |"
    assert lines[2:] == [
        "| loss | 93.00 ± 1.41 | 90.00 [1] | 91.50 |",
        "| uniform | 90.00 [1] |  |  |",
    ]
    both = summarize.methods_table(rows).splitlines()[3]
    assert both == "| uniform | 90.00 [1] | 90.00 (-3.00) |"
    other = summarize.methods_table(rows, ours="uniform").splitlines()
    assert other[2:] == [
        "| loss | 93.00 ± 1.41 | 93.00 (+3.00) |",
        "| uniform | 90.00 [1] | 90.00 |",
    ]
    turned = summarize.methods_table([*rows, tight], transpose=True).splitlines()
    assert turned[:3] == [
        "| method | loss | uniform |",
        "| --- | --- | --- |",
        "| resnet20 macs=0.25 | 93.00 ± 1.41 | 90.00 [1] |",
    ]
    more = [_row(1, 0.92, method="uniform"), _row(2, 0.92, method="uniform")]
    more[1]["cell"]["tag"] = "another dense network"
    both = summarize.methods_table([*rows, *more]).splitlines()[3]
    # sqrt((1.41**2 / 2 + 1.15**2 / 3) / 1)
    assert both == "| uniform | 91.33 ± 1.15 | 91.33 (-1.67 ± 1.20) |"
    slow = _row(0, 0.9, method="amc")
    slow["seconds"]["total"] = 150.0
    times = summarize.methods_table([slow, *rows], "seconds").splitlines()
    assert times[2:] == [
        "| loss | 100 | 100 |",
        "| uniform | 100 [1] | 100 (x 1.00) |",
        "| amc | 150 [1] | 150 (x 1.50) |",
    ]
    for row in rows:
        row["history"] = {"fine_tune": {"accuracy": [0.5, 0.75]}}
    fit = summarize.methods_table(rows, "fit").splitlines()
    assert fit[2] == "| loss | 75.00 ± 0.00 | 75.00 |"
    tight["cell"].update(budget="macs=0.25", epochs=10)
    with pytest.raises(ValueError, match="--where.*Received: "):
        summarize.methods_table([*rows, tight])


def test_methods_with_settings_are_chosen_by_class(tmp_path):
    path = tmp_path / "runs.jsonl"
    text = '{"class_name": "Settling", "config": {"rate": 0.03, "end": 0.1}}'
    for method in ("loss", text):
        common.append_line(path, _row(0, 0.9, method=method))
    (row,) = summarize.read([path], ["method=Settling|uniform"])
    assert row["cell"]["method"] == text


def test_rows_are_chosen(tmp_path):
    path = tmp_path / "runs.jsonl"
    for seed, limit in ((0, None), (1, 20000)):
        row = _row(seed, 0.9)
        row["cell"]["limit"] = limit
        common.append_line(path, row)
    chosen = summarize.read([path], ["limit=20000", "method=loss"])
    assert [row["cell"]["seed"] for row in chosen] == [1]
    assert len(summarize.read([path], ["limit=null"])) == 1
    assert len(summarize.read([path], ["limit=null|20000"])) == 2
    for paths, where in (([path], ["limit=1"]), ([], [])):
        with pytest.raises(app.UsageError):
            summarize.read(paths, where)


def test_lines_survive_one_that_was_cut_off(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"
    assert common.read_lines(path) == []
    common.append_line(path, {"a": 1})
    with path.open("a") as file:
        file.write('{"a": 2')
    common.append_line(path, {"a": 3})
    assert common.read_lines(path) == [{"a": 1}, {"a": 3}]
