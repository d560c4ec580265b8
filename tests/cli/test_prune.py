"""The whole job: hooks or images in; model, file and report out."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import tf_lossprune
from tests.cli.networks import HOOKS, lossprune, network, write_images

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ["compact.keras", "compact.tflite", "report.html", "report.json"]


def test_hooks(capsys, tmp_path):
    pytest.importorskip("ai_edge_litert")
    hooks, out = tmp_path / "hooks_with_print.py", tmp_path / "out"
    hooks.write_text(
        f"{HOOKS}\nprint('loading')\n"
        "optimizer = lambda steps: keras.optimizers.SGD(1.0 / steps)\n"
        "options = {'channel_multiple': 2}\n"
    )
    flags = ["--epochs=2", "--batch_size=16", "--json", "--verbose=2"]
    command = ["prune", hooks, f"--out={out}", "--budget=macs=0.5,params=60%", *flags]
    assert lossprune(*command) == 0
    streams = capsys.readouterr()
    data = json.loads(streams.out)
    assert "loading" in streams.err and "Epoch 1/" in streams.err
    assert sorted(path.name for path in out.iterdir()) == FILES
    report = json.loads((out / "report.json").read_text())
    assert data["groups"] == report["groups"]
    assert [entry["kept"] for entry in report["limits"]] == [True, True]
    assert all(group["kept"] % 2 == 0 for group in report["groups"])
    assert {point["part"] for point in report["training"]} == {"search", "fine_tune"}
    compact = keras.models.load_model(out / "compact.keras")
    assert not compact.compiled
    assert tf_lossprune.cost(compact)["macs"] == report["compact"]["macs"]
    assert report["compact"]["tflite_bytes"] == (out / FILES[1]).stat().st_size
    assert {"accuracy", "peak_memory_bytes", "latency_ms"} < set(report["compact"])

    page = tmp_path / "again.html"
    again = ["report", out / "report.json", out / "report.json", f"--out={page}"]
    assert lossprune(*again, "--title=Mine") == 0
    assert "<h1>Mine</h1>" in page.read_text()
    assert "Channels of each group" in page.read_text()
    beside = [f"--uniform={out / 'report.json'}", f"--out={page}", "--overwrite"]
    assert lossprune("report", out / "report.json", *beside) == 0
    text = page.read_text()
    assert "Compared with uniform widths" in text and "Accuracy per class" in text
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**report, "dense": {"macs": 1}}))
    assert lossprune("report", out / "report.json", other) == 1
    assert "reports of one dense model" in capsys.readouterr().err


def test_given_widths_are_trained(capsys, tmp_path):
    """From a file of widths, and from the report of the run that had them."""
    hooks, widths = tmp_path / "hooks.py", tmp_path / "widths.json"
    hooks.write_text(HOOKS)
    widths.write_text('{"first": 3, "second": 5}')
    command = ["prune", hooks, "--budget=macs=100%", "--epochs=1", "--nolitert"]
    assert lossprune(*command, f"--widths={widths}", f"--out={tmp_path / 'a'}") == 0
    report = tmp_path / "a" / "report.json"
    found = {g["name"]: g["kept"] for g in json.loads(report.read_text())["groups"]}
    assert found == {"first": 3, "second": 5}
    assert lossprune(*command, f"--widths={report}", f"--out={tmp_path / 'b'}") == 0
    compact = keras.models.load_model(tmp_path / "b" / "compact.keras")
    assert [compact.get_layer(name).filters for name in found] == [3, 5]
    capsys.readouterr()
    for text in ("{", "[3, 5]", '{"first": 3.5}', '{"groups": [{"name": "first"}]}'):
        widths.write_text(text)
        assert lossprune(*command, f"--widths={widths}", f"--out={tmp_path / 'c'}") == 1
        assert "--widths as a JSON file" in capsys.readouterr().err
    flags = [f"--widths={report}", "--search_epochs=1", f"--out={tmp_path / 'c'}"]
    assert lossprune(*command, *flags) == 1
    assert "--search_epochs without --widths" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_without_labels_and_without_training(capsys, tmp_path):
    """From a model file and images in any folders; from arrays; from hooks."""
    pytest.importorskip("ai_edge_litert")
    model = network(channels=3)
    path, images = (
        tmp_path / "dense.keras",
        write_images(tmp_path / "i", size=(9, 8, 3)),
    )
    model.save(path)
    (images / "loose.png").write_bytes((images / "cat" / "0.png").read_bytes())
    (images / "notes.txt").write_text("no image")
    command = ["prune", path, "--epochs=0", "--budget=macs=0.5", "--pixels=0,1"]
    flags = [f"--calibration={images}", "--precision=int8", "--channel_multiple=1"]
    assert lossprune(*command, *flags, f"--out={tmp_path / 'a'}") == 0
    assert "Left out 1 files that are not images" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == FILES
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["method"] == "uniform" and report["epochs"] == 0
    assert report["compact"]["macs"] <= 0.5 * report["dense"]["macs"]
    compact = keras.models.load_model(tmp_path / "a" / "compact.keras")
    cut = tf_lossprune.strip_pruning(
        tf_lossprune.prune_model(
            model, {"macs": 0.5}, method="uniform", channel_multiple=1
        )
    )
    kept = cut.get_layer("second").get_weights()[0]
    assert compact.get_layer("second").get_weights()[0].shape == kept.shape
    assert (compact.get_layer("second").get_weights()[0] != kept).any()  # repaired

    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((32, 8, 8, 3)))
    flags = [f"--calibration={tmp_path / 'x.npy'}", "--nolitert", "--method=magnitude"]
    flags.append("--importance=prediction")
    assert lossprune(*command, *flags, f"--out={tmp_path / 'b'}") == 0

    hooks = tmp_path / "hooks.py"
    hooks.write_text(HOOKS)
    flags = ["--epochs=0", "--precision=int8", f"--out={tmp_path / 'c'}"]
    assert lossprune("prune", hooks, *flags) == 0
    report = json.loads((tmp_path / "c" / "report.json").read_text())
    figures = {"accuracy", "loss", "int8_accuracy"}
    assert figures < set(report["compact"]) & set(report["dense"])
    assert sum(report["classes"]["compact"]) == round(
        64 * report["compact"]["accuracy"]
    )
    assert report["threads"] == 1 and report["device"]
    # The arena of the int8 file, not that of fp32.
    file = tmp_path / "c" / "compact.tflite"
    arena = tf_lossprune.deploy.arena_bytes(file)
    assert report["compact"]["peak_memory_bytes"] == arena
    assert not (tmp_path / "c" / "state").exists()

    hooks.write_text(HOOKS.replace("def data", "def nothing"))
    capsys.readouterr()
    flags[-1] = out = f"--out={tmp_path / 'd'}"
    for arguments, message in (
        ((hooks, "--epochs=0"), "--calibration=FOLDER|FILE.npy"),
        ((path, "--epochs=0"), "--calibration=FOLDER|FILE.npy"),
        ((hooks, f"--calibration={images}"), "--calibration with --epochs=0"),
        ((hooks, "--importance=prediction"), "--importance=prediction with"),
        ((path, "--epochs=0", "--calibration=x.txt"), "--calibration as a folder"),
        ((path, "--epochs=0", "--calibration=x.npy"), "--calibration as a .npy file"),
        (
            (path, "--epochs=0", f"--calibration={images}", "--method=loss"),
            "--method=uniform or magnitude",
        ),
        (
            (path, "--epochs=0", f"--calibration={images}", "--distill=0.5"),
            "--distill only with training",
        ),
    ):
        assert lossprune("prune", *arguments, out) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("split", [False, True])
def test_images(capsys, tmp_path, split):
    images = tmp_path / "images"
    size = (12, 10, 3)
    if split:
        write_images(images / "train", size=size)
        write_images(images / "val", size=size, count=2)
    else:
        write_images(images, size=size)
    model = network(activation="softmax", channels=3)
    if split:  # its own loss decides on the labels
        model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    model.save(tmp_path / "dense.keras")
    command = [
        "prune",
        images,
        f"--model={tmp_path / 'dense.keras'}",
        f"--out={tmp_path / 'out'}",
        "--method=uniform",
        "--epochs=1",
        "--pixels=-1,1",
        "--batch_size=4",
        "--nolitert",
        "--verbose=0",
    ]
    assert lossprune(*command) == 0
    assert "Written to" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "accuracy" in report["compact"] and "tflite_bytes" not in report["compact"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ("a", "b")}, "as many classes as the model has outputs, 3"),
        ({"flags": ["--pixels=1"]}, "two rising numbers"),
        ({"flags": ["--model="]}, "--model=MODEL.keras beside a folder"),
        ({"classes": ()}, "one folder of images for each class"),
    ],
)
def test_wrong_images(capsys, tmp_path, change, words):
    images = write_images(tmp_path / "images", change.get("classes", "abc"))
    images.mkdir(exist_ok=True)
    network().save(tmp_path / "dense.keras")
    flags = [f"--model={tmp_path / 'dense.keras'}", *change.get("flags", [])]
    assert lossprune("prune", images, f"--out={tmp_path / 'out'}", *flags) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ("", 2, "This budget on macs cannot be met"),
        ("def data():\n    return x, y\n", 1, "return (train, validation)"),
        ("data = None\n", 1, "to define a function `data`"),
        ("model = 3\n", 1, "to be or to return a keras.Model"),
        ("options = []\n", 1, "`options` as a dict"),
        ("loss = None\n", 1, "Expected a loss"),
    ],
)
def test_wrong_hooks(capsys, tmp_path, change, status, words):
    hooks, out = tmp_path / "wrong_hooks.py", tmp_path / "out"
    hooks.write_text(HOOKS + change)
    command = ["prune", hooks, f"--out={out}", "--budget=macs=0.001"]
    assert lossprune(*command) == status
    assert words in capsys.readouterr().err
    assert not (out / "report.json").exists()


#: Slow enough to be stopped in the middle; every batch is the same in every pass.
SLOW = f"""{HOOKS}
import time


class Slow(keras.utils.PyDataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        time.sleep(0.05)
        return x[8 * index : 8 * index + 8], y[8 * index : 8 * index + 8]


def data():
    return Slow(), None
"""


@pytest.mark.long
@pytest.mark.parametrize("part", ["search", "fine_tune"])
def test_ctrl_c_and_the_same_command_again(tmp_path, part):
    hooks, out = tmp_path / "hooks.py", tmp_path / "out"
    hooks.write_text(SLOW)
    command = [sys.executable, "-m", "tf_lossprune", "prune", str(hooks)]
    command += [f"--out={out}", "--epochs=20", "--search_epochs=10", "--nolitert"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    options = {"env": environment, "text": True, "cwd": tmp_path}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    log = out / "state" / "training.jsonl"
    limit = time.monotonic() + 300
    while not (log.exists() and f'"{part}"' in log.read_text()):
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert not stdout
    assert "the same command resumes" in stderr
    assert "Traceback" not in stderr
    state = json.loads((out / "state" / "run" / "state.json").read_text())
    assert 0 < state["done"] < 160
    assert (state["done"] <= 80) == (part == "search")
    assert (out / "state" / "dense.keras").exists()

    other = subprocess.run(
        [*command, "--epochs=21"], capture_output=True, check=False, **options
    )
    assert other.returncode == 1 and "it had epochs=20" in other.stderr

    again = subprocess.run(
        [*command, "--json"], capture_output=True, check=False, **options
    )
    assert again.returncode == 0, again.stderr
    assert "Resuming the run" in again.stderr
    report = json.loads(again.stdout)
    assert not (out / "state").exists()
    steps = [point["step"] for point in report["training"]]
    assert steps == sorted(steps) and steps[0] < 5 and steps[-1] > 155
    limits = report["limits"]
    assert limits[0]["kept"]
