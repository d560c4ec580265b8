"""`lossprune calibrate`, `export-probes` and budgets in milliseconds."""

import csv
import json
from unittest import mock

import numpy as np
import pytest

from tests.cli.networks import lossprune
from tf_lossprune import deploy
from tf_lossprune.resources import LatencyTable, cache_folder


@pytest.fixture(autouse=True)
def clock(tmp_path, monkeypatch):
    """A clock that says how many weights there are, and no table of other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def convert(self, model, path, precision):
        with open(path, "w") as file:
            file.write(str(1e-4 * (10 + model.count_params())))

    def times(self, paths, threads, turns):
        return np.tile([float(open(path).read()) for path in paths], (turns, 1))

    for name, function in (
        ("convert", convert),
        ("convert_operation", convert),
        ("times", times),
        ("arena", lambda self, path: 1000),
        ("missing", lambda self: ""),
    ):
        monkeypatch.setattr(deploy.LitertMeasurer, name, function)


def found(capsys, *arguments):
    assert lossprune(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_table_of_this_machine(capsys, folder, tmp_path):
    source, out = folder / "dense.keras", tmp_path / "table.json"
    data = found(capsys, "calibrate", source, f"--out={out}", "--threads=2")
    table = LatencyTable.load(out)
    assert table.device["threads"] == 2 and table.device["precision"] == "fp32"
    assert data["dense_ms"] == table.dense > 0
    assert len([*cache_folder().iterdir()]) == 1
    assert lossprune("calibrate", source, f"--out={out}") == 1
    assert "which exists" in capsys.readouterr().err
    asked = f"--latency_table={out}"
    found_ = found(capsys, "inspect", source, "--budget=latency_ms=0.9", asked)
    assert found_["cost"]["latency_ms"] > 0
    assert lossprune("inspect", source, "--resources=latency_ms", asked,
                     "--precision=int8") == 1  # fmt: skip
    assert "precision='int8'" in capsys.readouterr().err


def test_prune_and_inspect_calibrate_by_themselves(capsys, folder, tmp_path):
    x, out = tmp_path / "x.npy", tmp_path / "out"
    np.save(x, np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32"))
    source, budget = folder / "dense.keras", "--budget=latency_ms=0.9"
    more = f"--calibration={x}", f"--out={out}", "--epochs=0", "--nolitert"
    data = found(capsys, "prune", source, budget, *more)
    assert data["budget"] == {"latency_ms": 0.9}
    assert sum(group["kept"] for group in data["groups"]) < 16
    made = len([*cache_folder().iterdir()])
    with mock.patch.object(deploy.LitertMeasurer, "convert_operation", None):
        found(capsys, "inspect", source, budget)  # it is calibrated
    assert len([*cache_folder().iterdir()]) == made == 1


def test_probes_go_to_a_device_and_their_times_come_back(capsys, folder, tmp_path):
    source, probes = folder / "dense.keras", tmp_path / "new" / "probes"
    data = found(capsys, "export-probes", source, f"--out={probes}")
    with open(probes / "probes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == data["files"]
    assert {path.name for path in probes.iterdir()} == {*data["files"], "probes.csv"}
    assert lossprune("export-probes", source, f"--out={probes}") == 1
    assert "--overwrite" in capsys.readouterr().err
    out, times = tmp_path / "phone.json", tmp_path / "times.csv"
    command = "calibrate", probes, f"--times={times}", f"--out={out}"
    lines = [f"{row['file']},{100 + k}" for k, row in enumerate(rows)]
    for text, words in (
        ("\n".join(lines), "file,microseconds"),
        ("\n".join(["file,microseconds", *lines[1:]]), "no time of overhead.tflite"),
        ("\n".join(["file,microseconds", *lines, "a,b"]), "'b'"),
    ):
        times.write_text(text)
        assert lossprune(*command, "--device=phone") == 1
        assert words in capsys.readouterr().err
        assert not out.exists()
    times.write_text("\n".join(["file,microseconds", *lines]))
    assert lossprune(*command) == 1
    assert "--device=NAME" in capsys.readouterr().err
    data = found(capsys, *command, "--device=phone")
    expected = {"name": "phone", "threads": 1, "precision": "fp32"}
    assert data["device"] == expected
    table = LatencyTable.load(out)
    assert [row[-1] for row in table.rows] == [
        pytest.approx((100 + k) / 1000) for k in range(len(rows))
    ]
    budget = "--budget=latency_ms=0.95", f"--latency_table={out}"
    assert lossprune("inspect", source, *budget) == 0


def test_a_failed_export_leaves_nothing(capsys, folder, tmp_path):
    probes = tmp_path / "probes"
    with mock.patch.object(
        deploy.LitertMeasurer, "convert_operation", side_effect=ValueError("no kernel")
    ):
        assert (
            lossprune("export-probes", folder / "dense.keras", f"--out={probes}") == 1
        )
    assert "no kernel" in capsys.readouterr().err
    assert not probes.exists()
