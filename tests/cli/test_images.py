"""Folders as people have them: damaged images, other files, odd names."""

import json
import os
import struct
import zlib

import keras
import numpy as np
import pytest

from tests.cli.networks import lossprune, network, write_images

pytest.importorskip("tensorflow")
pytest.importorskip("PIL")


@pytest.fixture
def run(tmp_path):
    """Runs `prune` on a folder; returns the exit code."""
    write_images(tmp_path / "images", size=(8, 8, 3), count=2)

    def prune(*flags, channels=3):
        model = tmp_path / f"dense{channels}.keras"
        network(channels=channels).save(model)
        return lossprune(
            "prune",
            tmp_path / "images",
            f"--model={model}",
            f"--out={tmp_path / 'out'}",
            "--method=uniform",
            "--epochs=1",
            "--batch_size=4",
            "--validation_split=0.3",
            "--nolitert",
            "--verbose=0",
            "--restart",
            *flags,
        )

    return prune


def picture(mode="RGB", size=(9, 7)):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), "uint8")
    return Image.fromarray(pixels).convert(mode)


def truncated(path, kind):
    picture(size=(64, 64)).save(path, format=kind)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def huge_header(path):
    """A PNG that says how large it is, and ends there."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + crc)


BAD = {
    "half.jpg": lambda path: truncated(path, "JPEG"),
    "half.png": lambda path: truncated(path, "PNG"),
    "half.gif": lambda path: truncated(path, "GIF"),
    "half.bmp": lambda path: truncated(path, "BMP"),
    "header.png": huge_header,
    "empty.jpg": lambda path: path.write_bytes(b""),
    "text.png": lambda path: path.write_text("not an image"),
    "page.jpeg": lambda path: path.write_text("<html>404</html>"),
    "scan.tif": lambda path: picture().save(path, format="TIFF"),
    "drawing.svg": lambda path: path.write_text("<svg/>"),
    "gone.png": lambda path: path.symlink_to(path.parent / "nowhere"),
    "größe 犬.png": lambda path: path.write_bytes(b"\x89PNG"),
}


def test_bad_images_are_named_before_the_training(run, tmp_path, capsys):
    folder = tmp_path / "images" / "cow"
    for name, write in BAD.items():
        write(folder / name)
        assert run() == 1
        error = capsys.readouterr().err
        assert str(folder / name) in error and "--skip_bad_images" in error
        assert error.count("lossprune:") == 1 and "Traceback" not in error
        (folder / name).unlink()
    assert not (tmp_path / "out" / "compact.keras").exists()


def test_bad_images_are_left_out_on_demand(run, tmp_path, capsys):
    folder = tmp_path / "images" / "cow"
    for name, write in BAD.items():
        write(folder / name)
    assert run() == 1
    assert f"{len(BAD)} of {len(BAD) + 6} that cannot" in capsys.readouterr().err
    assert run("--skip_bad_images", "--json") == 0
    streams = capsys.readouterr()
    assert f"Left out {len(BAD)} of {len(BAD) + 6} images" in streams.err
    assert json.loads(streams.out)["compact"]["loss"] > 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_kinds_of_images_that_work(run, tmp_path, channels):
    """Whatever the decoder reads, whatever its name says of it."""
    folder = tmp_path / "images" / "cow"
    for mode in ("L", "RGB", "CMYK"):
        picture(mode).save(folder / f"{mode}.jpg")
    for mode in ("L", "LA", "P", "1", "RGB", "RGBA", "I;16"):
        image = picture("L" if mode == "I;16" else mode).convert(mode)
        image.save(folder / f"{mode.replace(';', '')}.png")
    picture().save(folder / "progressive.jpeg", progressive=True)
    picture().save(folder / "SHOUTING.BMP", format="BMP")
    picture().save(folder / "animated.gif", save_all=True, append_images=[picture("L")])
    picture().save(folder / "is_a_png.jpg", format="PNG")
    picture().save(folder / "grün 犬.png")
    (folder / "nested" / "deeper").mkdir(parents=True)
    picture().save(folder / "nested" / "deeper" / "inside.png")
    assert run(channels=channels) == 0


def test_other_files_are_left_out(run, tmp_path, capsys):
    folder = tmp_path / "images"
    for name in (".DS_Store", "._0.png", "Thumbs.db", "notes.txt", "labels.csv"):
        (folder / "cow" / name).write_text("other")
    (folder / "cow" / ".cache").mkdir()
    (folder / "cow" / ".cache" / "0.png").write_text("other")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "readme.md").write_text("other")
    assert run() == 0
    text = capsys.readouterr().err
    assert "Left out 3 files that are not images: " in text and "1 .csv" in text


def test_a_class_without_images_is_named(run, tmp_path, capsys):
    folder = tmp_path / "images" / "dog"
    for path in folder.iterdir():
        path.write_bytes(b"")
    assert run("--skip_bad_images") == 1
    assert "none of 'dog'" in capsys.readouterr().err
    for path in folder.iterdir():
        path.unlink()
    assert run() == 1
    assert "none of 'dog'" in capsys.readouterr().err


def test_validation_folders_keep_the_numbers_of_the_classes(run, tmp_path, capsys):
    """A class without validation images does not shift the others' numbers."""
    from tf_lossprune.cli.command import CommandLine
    from tf_lossprune.cli.commands import COMMANDS
    from tf_lossprune.cli.images import read_images

    for name in ("cat", "cow", "dog"):
        (tmp_path / "images" / "train").mkdir(exist_ok=True)
        os.rename(tmp_path / "images" / name, tmp_path / "images" / "train" / name)
    write_images(tmp_path / "images" / "val", ["dog"], size=(8, 8, 3), count=2)
    model = network(channels=3)
    _, values, _ = CommandLine(COMMANDS).parse(["prune", "images", "--pixels=-1,1"])
    train, validation, settings, classes = read_images(
        tmp_path / "images", model, values
    )
    labels = np.concatenate([np.asarray(y) for _, y in validation])
    np.testing.assert_array_equal(labels, [2, 2])
    images = np.concatenate([np.asarray(x) for x, _ in validation])
    assert -1 <= images.min() < -0.8 and 0.8 < images.max() <= 1
    assert isinstance(settings["loss"], keras.losses.SparseCategoricalCrossentropy)
    assert sum(len(y) for _, y in train) == 6
    write_images(tmp_path / "images" / "val", ["horse"], size=(8, 8, 3), count=1)
    assert run() == 1
    assert "Received: ['horse']" in capsys.readouterr().err


def test_augmentation_changes_images_and_nothing_else():
    import tensorflow as tf

    from tf_lossprune.cli import image_batches

    form = image_batches.Form((16, 16), 3, "int", -1.0, 1.0)
    images = np.random.default_rng(0).uniform(0, 1, (4, 16, 16, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((images, np.arange(4))).batch(4)
    assert image_batches.augmented(data, [], form, 0) is data
    for names in (["flip"], ["crop"], ["rotate"], ["flip", "crop", "rotate"]):
        changed = image_batches.augmented(data, names, form, 3)
        (first, labels), (second, _) = next(iter(changed)), next(iter(changed))
        assert (
            first.shape == images.shape and (np.asarray(labels) == np.arange(4)).all()
        )
        assert -1 <= np.min(first) and np.max(first) <= 1
        assert not np.allclose(first, images) or not np.allclose(second, images)
        assert not np.allclose(first, second)  # other ones in each pass
        again = next(iter(image_batches.augmented(data, names, form, 3)))[0]
        np.testing.assert_array_equal(first, again)
    flipped = np.asarray(
        next(iter(image_batches.augmented(data, ["flip"], form, 3)))[0]
    )
    for before, after in zip(images, flipped):
        assert any(np.allclose(after, p) for p in (before, before[:, ::-1]))


def test_files_that_are_no_models_are_named(tmp_path, capsys):
    write_images(tmp_path / "images", count=1)
    network().save(tmp_path / "dense.keras")
    content = (tmp_path / "dense.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: len(content) // 2])
    flags = [f"--model={tmp_path / 'cut.keras'}", f"--out={tmp_path / 'out'}"]
    assert lossprune("prune", tmp_path / "images", *flags) == 1
    error = capsys.readouterr().err
    assert (
        error.startswith("lossprune: Expected a .keras file") and "cut.keras" in error
    )
    assert not (tmp_path / "out").exists()


def test_typical_inputs_need_no_classes(tmp_path, capsys):
    pytest.importorskip("ai_edge_litert")
    images = write_images(tmp_path / "images", ["any"], size=(8, 8, 3))
    network(channels=3).save(tmp_path / "dense.keras")
    flags = ["--precision=int8", f"--data={images / 'any'}", "--pixels=0,1"]
    assert lossprune("convert", tmp_path / "dense.keras", *flags) == 0
    assert (tmp_path / "dense.tflite").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_named(run, tmp_path, capsys):
    path = tmp_path / "images" / "cow" / "0.png"
    path.chmod(0)
    assert run() == 1
    assert str(path) in capsys.readouterr().err
    path.chmod(0o600)
    path.parent.chmod(0)
    status = run()
    path.parent.chmod(0o700)
    assert status == 1
    assert str(path.parent) in capsys.readouterr().err
