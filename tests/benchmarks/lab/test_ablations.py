"""Runs the ablations' cells whose code nothing else runs."""

import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import common, paired
from benchmarks.lab import ablations

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.mark.long
def test_quick_cells(tmp_path):
    out = tmp_path / "a.jsonl"
    topics = "saliency,annealing,importance,rounding of all groups"
    command = [
        *(sys.executable, "-m", "benchmarks.lab.ablations"),
        *("--networks=digits_resnet:4", "--macs=0.5", "--seeds=0", "--epochs=2"),
        *("--dense_epochs=1", f"--out={out}", f"--topics={topics}"),
        "--extra=data=digits,limit=128,batch_size=32,verbose=0,jit_compile=false,"
        f"fast_kernels=true,cache={tmp_path}",
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
    assert len(paired.table(rows).splitlines()) == 3 + len(wanted)
