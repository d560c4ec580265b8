"""Programs that take turns on the machine."""

import subprocess
import sys
import time

import pytest

from benchmarks import turns

COUNT = """
import pathlib, sys, time
for number in range(40):
    with pathlib.Path(sys.argv[1]).open("a") as file:
        file.write(f"{sys.argv[2]} {time.time()}\\n")
    time.sleep(0.02)
"""


def test_one_program_runs_at_a_time(tmp_path):
    lanes = [
        [[sys.executable, "-c", COUNT, tmp_path / "log", name] for name in lane]
        for lane in (["a"], ["b", "c"])
    ]
    began = time.time()
    found = turns.take_turns(lanes, [0.2, 0.3])
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(name for name, _ in lines) == sorted("abc" * 40)
    own = {"a": found[0][0], "b": found[1][0], "c": found[1][1]}
    assert len(own["a"]) > 1
    for name, moment in lines:
        where = [start <= float(moment) <= end for start, end in own[name]]
        assert any(where)
    slices = sorted(turn for turns_ in own.values() for turn in turns_)
    assert all(a[1] <= b[0] for a, b in zip(slices, slices[1:]))
    total = sum(turns.overlap(o, began, time.time()) for o in own.values())
    assert total <= time.time() - began


def test_a_failure_ends_all(tmp_path):
    fails = [sys.executable, "-c", "raise SystemExit(3)"]
    waits = [sys.executable, "-c", "import time; time.sleep(600)"]
    began = time.time()
    with pytest.raises(subprocess.CalledProcessError, match="status 3"):
        turns.take_turns([[waits], [fails]], [0.2, 5.0])
    assert time.time() - began < 60


def test_overlap():
    assert turns.overlap([(0.0, 2.0), (5.0, 8.0), (9.0, 11.0)], 1.0, 6.0) == 2.0
