"""The demo from end to end, with next to no training."""

import json
import pathlib
import subprocess
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[2]
FIGURES = {
    "accuracy",
    "macs",
    "params",
    "tflite_bytes",
    "arena_bytes",
    "latency_ms",
}


@pytest.mark.long
def test_writes_what_it_promises(tmp_path):
    for package in ("sklearn", "matplotlib", "ai_edge_litert"):
        pytest.importorskip(package)
    # A process of its own: absl flags are global.
    options = ["--dense_epochs=1", "--epochs=2", "--width=8", "--verbose=0"]
    run = subprocess.run(
        [sys.executable, "-m", "examples.digits_demo", f"--out={tmp_path}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "compact.keras",
        "compact.tflite",
        "dense.tflite",
        "ratios.png",
        "report.html",
        "report.json",
        "training.jsonl",
    }
    report = json.loads((tmp_path / "report.json").read_text())
    dense, compact = report["dense"], report["compact"]
    assert set(dense) == set(compact) == FIGURES
    assert report["budget"] == {"macs": 0.5}
    assert 0 < compact["macs"] <= 0.5 * dense["macs"]
    assert 0 < compact["tflite_bytes"] < dense["tflite_bytes"]
    assert keras.models.load_model(tmp_path / "compact.keras").count_params() > 0
    for group in report["groups"]:
        assert group["name"] in run.stdout
        assert f"{group['kept']}/{group['total']}" in run.stdout
