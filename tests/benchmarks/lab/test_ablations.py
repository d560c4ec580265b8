"""Runs quick cells of the ablations, and makes their table."""

import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import ablations, common

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_quick_cells(tmp_path):
    """Those whose code nothing else runs."""
    out = tmp_path / "a.jsonl"
    topics = "batch for the ratios,gradient by the ratios,annealing,importance,widths,"
    topics += "rounding of all groups"
    command = [
        *(sys.executable, "-m", "benchmarks.ablations", "--networks=digits_resnet:4"),
        *("--macs=0.5", "--seeds=0", "--epochs=2", "--dense_epochs=1", f"--out={out}"),
        f"--topics={topics}",
        "--extra=data=digits,limit=128,batch_size=32,verbose=0,jit_compile=false,"
        f"cache={tmp_path}",
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = common.read_lines(out)
    wanted = {
        f"{topic}: {name}"
        for topic in topics.split(",")
        for name in ablations.ABLATIONS[topic]
    }
    assert {row["cell"]["tag"] for row in rows} == {"default", *wanted}
    assert all(row["fraction"]["macs"] <= 0.5 for row in rows)
    held_out = [row for row in rows if row["cell"].get("held_out")]
    assert len(held_out) == 1
    text = ablations.table(rows)
    assert len(text.splitlines()) == 3 + len(wanted)


def test_table_pairs_seeds():
    def row(tag, seed, final):
        cell = {"arch": "a", "width": 1, "budget": "macs=0.5", "seed": seed, "tag": tag}
        return {"cell": cell, "accuracy": {"final": final}}

    rows = [row("default", seed, 0.8 + 0.01 * seed) for seed in range(3)]
    rows += [row("draw: concrete", seed, 0.81 + 0.01 * seed) for seed in (1, 2)]
    lines = ablations.table(rows).splitlines()
    assert lines[2] == "| | default | 3 | 81.00 | |"
    assert lines[3] == "| draw | concrete | 2 | 82.50 | +1.00 ± 0.00 |"
    assert len(lines) == 4
    rows.append(row("draw: deterministic", 2, 0.81))
    lines = ablations.table(rows, "draw: concrete").splitlines()
    assert lines[2] == "| | draw: concrete | 2 | 82.50 | |"
    assert lines[3] == "| draw | deterministic | 1 | 81.00 | -2.00 |"
    assert len(lines) == 4
