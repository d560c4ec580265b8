"""Runs one small cell of the accuracy benchmark as a user would."""

import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import common, summarize

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(folder, *flags):
    command = [
        *(sys.executable, "-m", "benchmarks.accuracy"),
        *("--data=digits", "--arch=digits_resnet", "--width=4", "--limit=256"),
        *("--dense_epochs=1", "--epochs=2", "--batch_size=64", "--nojit_compile"),
        *(f"--out={folder}/runs.jsonl", f"--cache={folder}", "--verbose=0"),
        *flags,
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_cell(tmp_path):
    _run(tmp_path, "--method=loss", "--budget=macs=0.5")
    (row,) = common.read_lines(tmp_path / "runs.jsonl")
    assert row["cell"]["budget"] == "macs=0.5"
    assert row["fraction"]["macs"] <= 0.5
    assert set(row["accuracy"]) == {"dense", "cut", "final"}
    assert all(0.0 <= value <= 1.0 for value in row["accuracy"].values())
    assert all(0 < g["kept"] <= g["total"] for g in row["groups"])
    assert row["versions"]["keras"]

    # The same cell is not run again; another seed is, from the cached network.
    assert "Already in" in _run(tmp_path, "--method=loss", "--budget=macs=0.5")
    _run(tmp_path, "--method=uniform", "--budget=macs=0.5", "--split=validation")
    rows = common.read_lines(tmp_path / "runs.jsonl")
    assert [row["cell"]["method"] for row in rows] == ["loss", "uniform"]
    assert len(list(tmp_path.glob("*.keras"))) == 1
    assert len(summarize.table(rows).splitlines()) == 4
