"""Batches without `tf.data`."""

import numpy as np

from examples import data as example_data
from examples.batches import ArrayBatches


def arrays(count=10):
    x = np.random.default_rng(0).normal(size=(count, 6, 6, 1)).astype("float32")
    return x, np.arange(count)


def epoch(batches):
    found = [batches[i] for i in range(len(batches))]
    return [np.concatenate(part) for part in zip(*found)]


def test_in_order_and_complete():
    x, y = arrays()
    batches = ArrayBatches(x, y, 4)
    assert len(batches) == 3
    images, labels = epoch(batches)
    np.testing.assert_array_equal(images, x)
    np.testing.assert_array_equal(labels, y)


def test_epochs_differ_and_seeds_repeat():
    x, y = arrays()
    batches = ArrayBatches(x, y, 4, seed=3, shift=2, flip=True)
    again = ArrayBatches(x, y, 4, seed=3, shift=2, flip=True)
    first, second = epoch(batches), epoch(again)
    np.testing.assert_array_equal(first[0], second[0])
    assert sorted(first[1]) == list(y)
    batches.on_epoch_end()
    third = epoch(batches)
    assert not np.array_equal(first[1], third[1])


def test_shifts_and_mirrors_move_whole_images():
    x = np.arange(1.0, 37.0, dtype="float32").reshape(1, 6, 6, 1)
    x = np.repeat(x, 64, axis=0)
    images, _ = ArrayBatches(x, np.zeros(64), 64, 0, 1, True, fill=-1.0)[0]
    seen = set()
    for image in images[..., 0]:
        inner = image[1:-1, 1:-1]
        sign = np.sign(inner[0, 1] - inner[0, 0])
        np.testing.assert_array_equal(np.diff(inner, axis=1), sign)
        np.testing.assert_array_equal(np.diff(inner, axis=0), 6.0)
        seen.add((sign, float(inner[0, 0])))
        assert image.min() >= -1.0
    assert len({sign for sign, _ in seen}) == 2
    assert len(seen) > 9  # three rows, three columns, two sides


def test_taken_where_tensorflow_is_missing(monkeypatch):
    monkeypatch.setattr(example_data, "_has_tensorflow", lambda: False)
    x, y = arrays()
    data = example_data.Data("tiny", "here", x, y, x, y, x, y, 1, True)
    train, validation, test = example_data.datasets(data, 4)
    assert all(isinstance(b, ArrayBatches) for b in (train, validation, test))
    np.testing.assert_array_equal(epoch(test)[0], x)
