"""Commands that read and write files: inspect, strip, convert, benchmark, compare."""

import json

import keras
import numpy as np
import pytest

from tests.cli.networks import lossprune, write_images


def found(capsys, *arguments):
    assert lossprune(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_inspect(capsys, folder):
    data = found(
        capsys,
        "inspect",
        folder / "dense.keras",
        "--channel_multiple=4",
        "--budget=macs=50%",
    )
    assert [group["name"] for group in data["groups"]] == ["first", "second"]
    assert set(data["cost"]) == {"macs", "params", "peak_memory_bytes"}
    assert 0 < data["smallest"]["macs"] < 0.5
    assert data["frozen"] == [{"layer": "head", "reason": "model output (head)"}]
    assert lossprune("inspect", folder / "hooks.py", "--exclude=first") == 0
    text = capsys.readouterr().out
    assert "smallest reachable share" in text
    assert "frozen: first (excluded" in text
    assert lossprune("inspect", folder / "hooks.py", "--resources=volts") == 1


def test_strip(capsys, folder, tmp_path):
    out = tmp_path / "new" / "compact.keras"
    data = found(capsys, "strip", folder / "pruned.keras", f"--out={out}")
    assert data["budget"] == {"macs": 0.5}
    assert data["groups"][0]["kept"] < 8
    compact = keras.models.load_model(out)
    assert compact.count_params() == data["cost"]["params"]
    command = ["strip", folder / "dense.keras", f"--out={out}"]
    assert lossprune(*command) == 1
    assert f"{str(out)!r}, which exists" in capsys.readouterr().err
    assert lossprune(*command, "--overwrite") == 1
    assert "made by `prune_model`" in capsys.readouterr().err
    command = ["strip", folder / "pruned.keras", f"--out={folder / 'pruned.keras'}"]
    assert lossprune(*command) == 1
    assert "other than the input" in capsys.readouterr().err


def test_convert_and_benchmark(capsys, folder, tmp_path):
    pytest.importorskip("ai_edge_litert")
    samples = tmp_path / "x.npy"
    np.save(samples, np.random.default_rng(0).normal(size=(8, 8, 8, 1)))
    files = [tmp_path / "fp32.tflite", tmp_path / "int8.tflite"]
    source = folder / "dense.keras"
    first = found(capsys, "convert", source, f"--out={files[0]}")
    assert first["tflite_bytes"] == files[0].stat().st_size
    options = ["--precision=int8", f"--data={samples}", f"--out={files[1]}"]
    assert lossprune("convert", source, *options) == 0
    assert "int8" in capsys.readouterr().out
    data = found(capsys, "benchmark", *files, "--runs=3", "--warmup=0")
    assert [entry["runs"] for entry in data["files"]] == [3, 3]
    assert all(entry["in_turns_ms"] > 0 for entry in data["files"])
    assert lossprune("benchmark", files[0], "--runs=3") == 0
    assert "median ms" in capsys.readouterr().out
    data = found(capsys, "benchmark", files[1], "--runs=3", "--runtime=compiled")
    assert data["files"][0]["runtime"] == "compiled"
    assert lossprune("benchmark", files[0], "--runtime=onnx") == 1
    assert "ending in .onnx" in capsys.readouterr().err
    samples.write_text("no array")
    assert lossprune("convert", source, *options) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert lossprune("convert", source, *options, "--overwrite") == 1
    assert "--data as a .npy file" in capsys.readouterr().err


def test_compare_files(capsys, folder, tmp_path):
    """A model with its int8 file, and two files."""
    pytest.importorskip("ai_edge_litert")
    int8 = tmp_path / "int8.tflite"
    hooks = f"--data={folder / 'hooks.py'}"
    dense = folder / "dense.keras"
    found(capsys, "convert", dense, "--precision=int8", hooks, f"--out={int8}")
    data = found(capsys, "compare", dense, int8, hooks)
    assert data["compact"]["tflite_bytes"] == int8.stat().st_size
    assert data["compact"]["tflite_bytes"] < data["dense"]["tflite_bytes"]
    assert data["dense"]["macs"] > 0 and "macs" not in data["compact"]
    assert abs(data["compact"]["accuracy"] - data["dense"]["accuracy"]) < 0.1
    dense_alone = found(capsys, "compare", dense, dense, hooks, "--nolitert")["dense"]
    assert data["dense"]["accuracy"] == pytest.approx(dense_alone["accuracy"])
    data = found(capsys, "compare", int8, int8, hooks)
    assert data["dense"]["accuracy"] == data["compact"]["accuracy"]
    for flag, words in (("--nolitert", "with --nolitert"), (f"--data={folder}", "how")):
        assert lossprune("compare", int8, int8, flag) == 1
        assert words in capsys.readouterr().err


def test_compare(capsys, folder, tmp_path):
    pytest.importorskip("ai_edge_litert")
    compact = tmp_path / "compact.keras"
    assert lossprune("strip", folder / "pruned.keras", f"--out={compact}") == 0
    capsys.readouterr()
    models = folder / "dense.keras", compact
    data = found(capsys, "compare", *models, f"--data={folder / 'hooks.py'}")
    assert data["compact"]["macs"] <= 0.5 * data["dense"]["macs"]
    for side in ("dense", "compact"):
        assert {"accuracy", "latency_ms", "tflite_bytes"} < set(data[side])
    images = write_images(tmp_path / "images")
    command = ["compare", *models, f"--data={images}", "--pixels=0,1", "--nolitert"]
    assert lossprune(*command) == 0
    text = capsys.readouterr().out
    assert "accuracy" in text and "time per sample" not in text


def test_inspect_counts_for_a_given_shape(tmp_path, capsys):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.save(tmp_path / "open.keras")
    path = tmp_path / "open.keras"
    data = found(capsys, "inspect", path)
    assert list(data["cost"]) == ["params"]
    data = found(capsys, "inspect", path, "--input_shape=10,10,3")
    assert data["cost"]["macs"] == 8 * 8 * 8 * 27 + 16
