"""Quick cells of the widths near those that were found, and their table."""

import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import common, nearby

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _row(tag, seed, final, kept):
    return {
        "cell": {"tag": tag, "seed": seed},
        "accuracy": {"final": final},
        "groups": [{"kept": kept, "ratio": kept / 16}],
    }


def test_table():
    rows = [
        _row(nearby.FOUND, 0, 0.90, 4),
        _row(nearby.FOUND, 1, 0.92, 4),
        _row(nearby.DRAWN, 0, 0.80, 3),
        _row(nearby.DRAWN, 1, 0.85, 5),
    ]
    assert nearby.table(rows).splitlines()[2:] == [
        "| found | 2 | 91.00 ± 1.41 | 4 |",
        "| drawn 1 | 1 | 85.00 | 5 |",
        "| drawn 0 | 1 | 80.00 | 3 |",
    ]


def test_middle():
    # The geometric mean of 2/16 and 8/16.
    rows = [_row("", seed, 0.9, kept) for seed, kept in enumerate((2, 8))]
    assert nearby.middle(rows) == pytest.approx([0.25])


@pytest.mark.long
def test_quick_cells(tmp_path):
    folder = tmp_path
    extra = f"data=digits,limit=128,batch_size=32,verbose=0,cache={folder}"
    extra += ",jit_compile=false"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(name, *flags):
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *flags],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    compared = (
        *("--archs=digits_resnet:4", "--macs=0.5", "--methods=uniform", "--seeds=0"),
        *("--epochs=1", "--dense_epochs=1", "--distill=false", f"--extra={extra}"),
        f"--out={folder}/compare.jsonl",
    )
    run("compare", *compared)
    run(
        "nearby",
        *("--network=digits_resnet:4", "--macs=0.5", "--method=uniform", "--draws=1"),
        *("--repeats=1", "--dense_epochs=1", f"--source={folder}/compare.jsonl"),
        *(f"--out={folder}/nearby.jsonl", f"--extra={extra},split=validation"),
    )
    rows = common.read_lines(folder / "nearby.jsonl")
    assert [row["cell"]["tag"] for row in rows] == [nearby.FOUND, nearby.DRAWN]
    assert all(row["fraction"]["macs"] <= 0.5 for row in rows)
    (given,) = common.read_lines(folder / "compare.jsonl")
    kept = [group["kept"] for group in given["groups"]]
    assert [group["kept"] for group in rows[0]["groups"]] == kept
