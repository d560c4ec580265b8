"""Runs a quick cell of the comparison, and draws what such cells write."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import common, compare, figures, frontier
from examples import models

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(tmp_path, *given):
    command = [
        *(sys.executable, "-m", "benchmarks.compare", "--archs=digits_resnet:4"),
        *("--macs=0.5", "--methods=bn_scale,magnitude", "--seeds=0", "--epochs=1"),
        *("--search_epochs=0.5", "--scratch", "--cells=1", f"--out={tmp_path}/a.jsonl"),
        f"--extra=limit=128,batch_size=64,verbose=0,jit_compile=false,cache={tmp_path}",
        *given,
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (row,) = common.read_lines(tmp_path / "a.jsonl")
    assert row["cell"]["method"] == "magnitude"
    assert row["cell"]["dense"] == "epochs=0,seed=0"
    assert row["cell"]["distill"] is False
    assert row["fraction"]["macs"] <= 0.5
    return row


@pytest.mark.long
def test_quick_cell_on_images_from_a_file(tmp_path):
    """In a worker, as `--workers` starts them."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (common.VALIDATION_IMAGES + 128, 8, 8, 3), "uint8")
    y = rng.integers(0, 10, len(x))
    path = tmp_path / "small.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x[:64], y_test=y[:64])
    row = _run(tmp_path, "--workers=1", "--data=cifar10", f"--data_file={path}")
    assert row["cell"]["data"] == "cifar10"
    assert row["cell"]["data_file"] == "small.npz"
    (dense,) = tmp_path.glob("*.keras")
    assert dense.name.startswith("cifar10-small-")


@pytest.mark.long
def test_quick_cell_in_a_process_of_its_own(tmp_path):
    _run(tmp_path, "--data=digits")


def test_networks_of_the_grid_exist():
    for network in compare.ARCHS:
        name, _, width = network.partition(":")
        models.build(name, input_shape=(28, 28, 1), width=int(width))


def _row(method, share, seed, final):
    cell = {"arch": "resnet20", "method": method, "budget": share, "seed": seed}
    return {
        "cell": cell,
        "accuracy": {"dense": 0.94, "cut": 0.5, "final": final},
        "fraction": {"macs": share},
        "seconds": {"search": 10.0 + seed, "total": 60.0},
    }


def test_figures(tmp_path):
    rows = [
        _row(method, share, seed, 0.9 + 0.01 * seed)
        for method in ("loss", "uniform")
        for share in (0.5, 0.25)
        for seed in (0, 1)
    ]
    points = figures.curves(rows)["resnet20"]["loss"]
    assert [share for share, _ in points] == [0.5, 0.25]
    assert points[0][1] == [90.0, 91.0]
    assert figures.times(rows)["uniform"] == (10.5, 60.0)
    # Times are compared where all methods have been run.
    slow = _row("loss", 0.125, 0, 0.8)
    slow["seconds"]["total"] = 600.0
    assert figures.times([*rows, slow]) == figures.times(rows)
    figures.draw(rows, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_frontier_summary():
    def row(shares, seconds, value):
        return {
            "cell": {"seed": 0, "shares": shares},
            "accuracy": {str(share): value for share in shares},
            "seconds": seconds,
            "processor_seconds": seconds + 10.0,
        }

    rows = [
        row([0.5, 0.25], 60.0, 0.9),
        row([0.5], 50.0, 0.91),
        row([0.25], 50.0, 0.92),
        # A seed whose separate runs are not all there has no ratio yet.
        {**row([0.5, 0.25], 1.0, 0.9), "cell": {"seed": 1, "shares": [0.5, 0.25]}},
        # Nor one of which only some took turns.
        {**row([0.5], 1.0, 0.91), "cell": {"seed": 2, "shares": [0.5]}, "turn": 10.0},
        {**row([0.5, 0.25], 1.0, 0.9), "cell": {"seed": 2, "shares": [0.5, 0.25]}},
        {**row([0.25], 1.0, 0.92), "cell": {"seed": 2, "shares": [0.25]}},
    ]
    text = frontier.summary(rows)
    lines = text.splitlines()
    assert lines[0] == "seconds, frontier / separate runs: 0.60"
    assert lines[1] == "processor_seconds, frontier / separate runs: 0.58"
    assert "| 0.5 | 90.00 ± 0.00 | 91.00 ± 0.00 |" in text
    assert "| 0.25 | 90.00 ± 0.00 | 92.00 ± 0.00 |" in text
