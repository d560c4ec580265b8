"""The examples' data and its pipelines."""

import gzip
import io
import sys

import numpy as np
import pytest

from examples import data as example_data


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return example_data.load_digits()


def tiny(flip=True, shift=2, count=10):
    rng = np.random.default_rng(0)
    images = rng.uniform(0.0, 1.0, (3, count, 6, 6, 1)).astype("float32")
    labels = [np.arange(count, dtype="int32") + 100 * i for i in range(3)]
    arrays = (a for pair in zip(images, labels, strict=True) for a in pair)
    return example_data.Data("tiny", "here", *arrays, shift=shift, flip=flip)


def test_digits_are_split_without_overlap(digits):
    splits = (digits.x_train, digits.x_val, digits.x_test)
    assert [len(x) for x in splits] == [1149, 288, 360]
    assert digits.input_shape == (8, 8, 1)
    assert digits.classes == 10
    assert digits.x_train.dtype == np.float32
    assert digits.y_train.dtype == np.int32
    everything = np.concatenate(splits)
    assert abs(everything.mean()) < 1e-3
    assert abs(everything.std() - 1.0) < 1e-3
    seen = {x.tobytes() for x in digits.x_train}
    # Scikit-learn's digits hold no duplicates, so equal images mean an overlap.
    assert not seen & {x.tobytes() for x in np.concatenate(splits[1:])}
    assert set(digits.y_val) == set(digits.y_test) == set(range(10))


def test_loading_twice_gives_the_same_splits(digits):
    again = example_data.load_digits()
    np.testing.assert_array_equal(again.x_val, digits.x_val)
    np.testing.assert_array_equal(again.y_test, digits.y_test)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    with gzip.open(path, "wb") as file:
        file.write(header + array.tobytes())


def test_fashion_mnist_from_idx_files(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 5)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", pixels)
        write_idx(
            tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8)
        )
    monkeypatch.setattr(example_data, "FASHION_MNIST_DIR", tmp_path)
    data = example_data.load_fashion_mnist(validation=4)
    assert [len(x) for x in (data.x_train, data.x_val, data.x_test)] == [16, 4, 5]
    assert sorted([*data.y_train, *data.y_val]) == list(range(20))
    expected = (pixels / 255.0 - 0.2860) / 0.3530
    np.testing.assert_allclose(data.x_test[..., 0], expected, atol=1e-6)
    assert (data.shift, data.flip) == (2, True)


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "labels.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"not an IDX file")
    with pytest.raises(ValueError, match="IDX file of bytes. Received"):
        example_data._read_idx(path)


def cifar10_file(path, as_jpeg):
    """Writes twelve and three images; returns what they are, decoded."""
    rng = np.random.default_rng(0)
    arrays = {}
    pixels = {
        "train": np.repeat(rng.integers(0, 256, (12, 1, 1, 3)), 32, 1).repeat(32, 2),
        "test": np.repeat(rng.integers(0, 256, (3, 1, 1, 3)), 32, 1).repeat(32, 2),
    }
    for split, images in pixels.items():
        images = pixels[split] = images.astype("uint8")
        labels = np.arange(len(images), dtype="uint8")[:, None] % 10
        if not as_jpeg:
            arrays |= {f"x_{split}": images, f"y_{split}": labels}
            continue
        image_module = pytest.importorskip("PIL.Image")
        files = [io.BytesIO() for _ in images]
        for image, file in zip(images, files, strict=True):
            image_module.fromarray(image).save(file, "JPEG", quality=100)
        files = [file.getvalue() for file in files]
        arrays |= {
            f"{split}_bytes": np.frombuffer(b"".join(files), np.uint8),
            f"{split}_ends": np.cumsum([len(file) for file in files]),
            f"{split}_labels": labels[:, 0],
        }
    np.savez(path, **arrays)
    return pixels


@pytest.mark.parametrize("as_jpeg", [False, True])
def test_cifar10_from_a_file(tmp_path, as_jpeg):
    pixels = cifar10_file(tmp_path / "images.npz", as_jpeg)
    data = example_data.load("cifar10", tmp_path / "images.npz", validation=4)
    assert [len(x) for x in (data.x_train, data.x_val, data.x_test)] == [8, 4, 3]
    assert data.input_shape == (32, 32, 3)
    # The last training images are for validation.
    assert [*data.y_train, *data.y_val] == [*range(10), 0, 1]
    assert [*data.y_test] == [0, 1, 2]
    found = np.concatenate([data.x_train, data.x_val, data.x_test])
    found = found * [0.2470, 0.2435, 0.2616] + [0.4914, 0.4822, 0.4465]
    expected = np.concatenate([pixels["train"], pixels["test"]]) / 255.0
    np.testing.assert_allclose(found, expected, atol=4 / 255 if as_jpeg else 1e-6)
    assert found.dtype != np.uint8 and data.x_train.dtype == np.float32


def test_cifar10_through_keras(monkeypatch, tmp_path):
    import keras

    pixels = cifar10_file(tmp_path / "images.npz", as_jpeg=False)
    splits = [(x, np.zeros((len(x), 1), "uint8")) for x in pixels.values()]
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: splits)
    data = example_data.load("cifar10", validation=5)
    assert [len(x) for x in (data.x_train, data.x_val, data.x_test)] == [7, 5, 3]


def test_other_files_than_those_of_images_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ValueError, match="x_train.*train_bytes.*Received: .*'x'"):
        example_data.load("cifar10", path)
    x, y = np.zeros((6, 32, 32, 3), "uint8"), np.zeros(6, "uint8")
    np.savez(path, x_train=x, y_train=y[:5], x_test=x, y_test=y)
    with pytest.raises(ValueError, match=r"n labels. Received: .*\(5,\)"):
        example_data.load("cifar10", path)
    np.savez(path, x_train=x / 255.0, y_train=y, x_test=x, y_test=y)
    with pytest.raises(ValueError, match="images of bytes.*Received: float64"):
        example_data.load("cifar10", path)
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(ValueError, match="more than the 5000.*Received: 6"):
        example_data.load("cifar10", path)
    with pytest.raises(FileNotFoundError, match="Received: .*none.npz"):
        example_data.load("cifar10", tmp_path / "none.npz")
    with pytest.raises(ValueError, match="Only cifar10.*Received: 'digits'"):
        example_data.load("digits", path)
    with pytest.raises(ValueError, match="Received: 'cifar100'"):
        example_data.load("cifar100")


def test_jpeg_images_without_pillow(tmp_path, monkeypatch):
    cifar10_file(tmp_path / "images.npz", as_jpeg=True)
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        example_data.load("cifar10", tmp_path / "images.npz")


def shifted(image, down, right, fill):
    """The image moved by hand, one pixel at a time."""
    height, width, _ = image.shape
    moved = np.full_like(image, fill)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[row, column] = image[row - down, column - right]
    return moved


@pytest.mark.parametrize("flip", [False, True])
def test_augment_shifts_and_mirrors(flip):
    x = np.random.default_rng(0).uniform(size=(200, 5, 4, 2)).astype("float32")
    result = np.asarray(example_data.augment(x, (3, 4), shift=1, flip=flip, fill=-1.0))
    found = set()
    for image, moved in zip(x, result, strict=True):
        cases = {
            (down, right, mirrored)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            for mirrored in ((False, True) if flip else (False,))
            if np.array_equal(
                moved,
                shifted(image[:, ::-1] if mirrored else image, down, right, -1.0),
            )
        }
        assert len(cases) == 1
        found |= cases
    assert len(found) == (18 if flip else 9)


def test_augment_depends_on_the_seed_alone():
    x = np.random.default_rng(0).uniform(size=(16, 6, 6, 1)).astype("float32")
    first, same, other = (
        np.asarray(example_data.augment(x, seed)) for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def epochs(dataset, count=2):
    return [[(x.numpy(), y.numpy()) for x, y in dataset] for _ in range(count)]


def test_pipelines_are_deterministic_and_change_from_epoch_to_epoch():
    data = tiny()
    runs = [epochs(example_data.datasets(data, 4, seed)[0]) for seed in (5, 5, 6)]
    labels = [[np.concatenate([y for _, y in e]) for e in run] for run in runs]
    for (x, y), (x_again, y_again) in zip(
        runs[0][0] + runs[0][1], runs[1][0] + runs[1][1], strict=True
    ):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
    assert not np.array_equal(labels[0][0], labels[0][1])
    assert not np.array_equal(labels[0][0], labels[2][0])
    for label in labels[0]:
        assert sorted(label) == list(range(10))


def test_batches_keep_images_and_labels_together():
    data = tiny()
    train, validation, test = example_data.datasets(data, 4, augment=False)
    assert int(train.cardinality()) == 3
    for x, y in train:
        np.testing.assert_array_equal(x, data.x_train[y.numpy()])
    for dataset, x, y in (
        (validation, data.x_val, data.y_val),
        (test, data.x_test, data.y_test),
    ):
        batches = list(dataset.as_numpy_iterator())
        np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), x)
        np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), y)


def test_validation_images_can_be_trained_on_in_the_end():
    train, validation, _ = example_data.datasets(tiny(), 4, use_validation=False)
    assert validation is None
    labels = np.concatenate([y for _, y in train.as_numpy_iterator()])
    assert sorted(labels) == [*range(10), *range(100, 110)]


def test_shifted_pixels_are_the_minimum():
    data = tiny(shift=6, flip=False)
    x, _ = next(iter(example_data.datasets(data, 10)[0]))
    assert np.isclose(x.numpy(), data.minimum).mean() > 0.2
    assert x.numpy().min() == np.float32(data.minimum)


def test_limit_and_wrong_data():
    train, _, _ = example_data.datasets(tiny(), 2, limit=4)
    assert int(train.cardinality()) == 2
    with pytest.raises(TypeError, match="Received: dict"):
        example_data.datasets({})
