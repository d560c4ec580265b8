"""Where TensorFlow is not installed: importing, training, the benchmarks."""

import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import common

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: Run by Python before anything else, in every process that is started from there.
BLOCK = """
import sys
for name in ("tensorflow", "tf_keras", "tensorflow_model_optimization",
             "ai_edge_litert"):
    sys.modules[name] = None  # cannot be imported, and is not found
"""

ONE_SHOT = """
import keras, tf_lossprune
inputs = keras.Input((4,))
x = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
model = keras.Model(inputs, keras.layers.Dense(2)(x))
pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="uniform")
print(tf_lossprune.strip_pruning(pruned).get_layer("hidden").units)
"""

OPEN_WIDTHS = """
import numpy
pruned = tf_lossprune.prune_model(model, {"macs": 0.5})
pruned.compile("sgd", "mse")
for train in (pruned.fit, pruned.train_on_batch):
    try:
        train(numpy.zeros((4, 4)), numpy.zeros((4, 2)))
    except NotImplementedError as error:
        print(error)
"""

DIGITS = ("data=digits", "limit=64", "batch_size=32", "verbose=0", "dense_epochs=0")


def python(folder, *arguments, backend="jax"):
    """Runs Python on a backend without TensorFlow; returns what it prints."""
    (folder / "sitecustomize.py").write_text(BLOCK)
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_and_one_shot(tmp_path):
    # Before it, a slow machine tells how far the work is.
    assert python(tmp_path, "-c", ONE_SHOT).split()[-1] == "4"


def test_a_backend_that_does_not_train(tmp_path):
    """One that comes with Keras stands for Torch."""
    code = ONE_SHOT + OPEN_WIDTHS
    lines = python(tmp_path, "-c", code, backend="numpy").splitlines()
    assert "4" in lines
    errors = [line for line in lines if "Received" in line]
    assert len(errors) == 2
    for error in errors:
        assert "trains on the TensorFlow and JAX backends" in error
        assert error.endswith("Received: backend 'numpy'")


@pytest.mark.long
def test_comparison(tmp_path):
    """A cell that trains, by way of `benchmarks.accuracy`."""
    out = tmp_path / "runs.jsonl"
    python(
        tmp_path,
        *("-m", "benchmarks.compare", "--archs=digits_resnet:4", "--macs=0.5"),
        *("--methods=loss", "--seeds=0", "--epochs=2", "--search_epochs=1"),
        f"--extra={','.join(DIGITS)},cache={tmp_path}",
        *("--distill=0.5", f"--out={out}"),
    )
    (row,) = common.read_lines(out)
    assert row["versions"]["backend"] == "jax"
    assert "tensorflow" not in row["versions"]
    assert row["fraction"]["macs"] <= 0.5


@pytest.mark.long
def test_step_time(tmp_path):
    out = tmp_path / "step.json"
    printed = python(
        tmp_path,
        *("-m", "benchmarks.step_time", "--arch=digits_resnet", "--size=8"),
        *("--width=4", "--batch_size=8", "--pairs=2", "--warmup=1"),
        *("--nomemory", f"--out={out}"),
    )
    assert "| digits_resnet | True | plain |" in printed
    assert '"backend": "jax"' in out.read_text()
