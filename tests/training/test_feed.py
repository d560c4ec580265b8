"""How many batches data have, and what several `fit`s read of them."""

import math
from unittest import mock

import keras
import numpy as np
import pytest

from tf_lossprune.training import data as data_module
from tf_lossprune.training.data import num_batches
from tf_lossprune.training.feed import Feed, HeldOut, split

X, Y = np.arange(24.0).reshape(12, 2), np.arange(12)


class Batches(keras.utils.PyDataset):
    """Six batches of two."""

    number = 6

    @property
    def num_batches(self):
        return self.number

    def __getitem__(self, index):
        rows = slice(2 * (index % 6), 2 * (index % 6) + 2)
        return X[rows], Y[rows]


class Endless(Batches):
    number = None


class NoLength(keras.utils.PyDataset):
    def __getitem__(self, index):
        return X, Y


def generator():
    while True:
        yield X[:2], Y[:2]


def tensors(kind):
    tf = pytest.importorskip("tensorflow")
    whole = tf.data.Dataset.from_tensor_slices((X, Y)).batch(2)
    return {
        "finite": whole,
        "endless": whole.repeat(),
        "unknown": whole.filter(lambda x, y: True),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "number"), [("finite", 6), ("endless", math.inf), ("unknown", None)]
)
def test_the_length_of_a_dataset_is_known_without_reading_it(kind, number):
    data = mock.Mock(wraps=tensors(kind), spec=["cardinality"])
    assert num_batches(data) == number


def test_the_length_of_other_data():
    assert num_batches((X, Y), 5) == 3
    assert num_batches(({"a": X, "b": X}, Y)) == 1
    assert num_batches(Batches()) == 6
    assert num_batches(Endless()) == math.inf
    assert num_batches(NoLength()) is None
    assert num_batches(iter([])) is None


def test_data_without_end_take_the_steps_of_an_epoch():
    for data in (Endless(), generator(), tensors("endless")):
        feed = Feed(data, steps=4)
        assert feed.steps == 4 and feed.epochs(10) == 3
        np.testing.assert_array_equal(np.asarray(feed.batch[0]), X[:2])


@pytest.mark.parametrize("make", [Endless, generator, lambda: tensors("endless")])
def test_data_without_end_and_without_steps_are_refused(make):
    with pytest.raises(ValueError, match=r"`steps_per_epoch`.*Received: "):
        Feed(make())
    with pytest.raises(ValueError, match=r"`validation_steps`.*Received: "):
        HeldOut(make())


def test_unknown_length_is_counted_but_not_for_ever():
    assert Feed(tensors("unknown")).steps == 6
    tf = pytest.importorskip("tensorflow")
    spec = (tf.TensorSpec((2, 2)), tf.TensorSpec((2,), "int32"))
    endless = tf.data.Dataset.from_generator(generator, output_signature=spec)
    with (
        mock.patch.object(data_module.count_batches, "__defaults__", (0.2,)),
        pytest.raises(ValueError, match=r"(?s)`steps_per_epoch`.*reaching the end"),
    ):
        Feed(endless)
    assert Feed(endless, steps=3).steps == 3


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (NoLength(), {}, "`__len__`"),
        (Batches(), {"steps": 7}, "at most 6.*steps_per_epoch=7"),
        ((X, Y), {"batch_size": 4, "steps": 4}, "at most 3"),
        ((X, Y[:-1]), {}, "same number of samples"),
        ((X, Y, Y, Y), {}, "4 entries"),
        ((X[:0], Y[:0]), {}, "at least one batch"),
        ([], {}, "0 entries"),
    ],
)
def test_what_is_no_data_is_refused(data, options, words):
    with pytest.raises(ValueError, match=f"{words}"):
        Feed(data, **options)


def test_batches_without_targets_are_refused():
    with pytest.raises(ValueError, match=r"Received: ndarray\(12, 2\)"):
        Feed({1: X, 2: X}.values())


def test_several_fits_read_a_generator_on():
    """No batch is lost, and those for the statistics are the first ones."""

    def numbered():
        for i in range(9):
            yield np.full((1, 1), i), np.zeros(1)

    feed = Feed(numbered(), steps=3, kept=2)
    assert [int(x[0, 0]) for x, _ in feed.batches()] == [0, 1]
    first = feed.arguments()["x"]
    seen = [int(next(first)[0][0, 0]) for _ in range(3)]
    seen += [int(x[0, 0]) for x, _ in feed.arguments()["x"]]
    assert seen == [*range(9)]


def test_steps_that_do_not_divide_a_pass():
    """Keras ends an epoch where the data end; all steps are done all the same."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    for data in ((X, Y), Batches(), tensors("finite")):
        feed = Feed(data, 2, steps=4)

        class Count(keras.callbacks.Callback):
            seen = 0

            def on_train_batch_end(self, batch, logs=None):
                self.seen += 1
                self.model.stop_training = self.seen == 11

        count = Count()
        model.fit(
            **feed.arguments(), epochs=feed.epochs(11), callbacks=[count], verbose=0
        )
        assert count.seen == 11


def test_validation_data_are_the_same_for_every_model():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", metrics=["mae"], jit_compile=False)
    wanted = model.evaluate(X[:4], Y[:4], verbose=0, return_dict=True)

    def rows():
        for i in range(0, 12, 2):
            yield X[i : i + 2], Y[i : i + 2]

    forms = [(X, Y), Batches(), Endless(), rows(), tensors("endless")]
    for data in [*forms, tensors("finite"), tensors("unknown")]:
        held_out = HeldOut(data, 2, 2)
        for _ in range(2):
            found = held_out.evaluate(model)
            assert found == pytest.approx(wanted, rel=1e-5)


def test_validation_split_holds_the_last_samples_out():
    (x, _, w), (x_val, y_val, w_val) = split((X, Y, None), 0.25)
    assert len(x) == 9 and w is None and w_val is None
    np.testing.assert_array_equal(x_val, X[9:])
    np.testing.assert_array_equal(y_val, Y[9:])
    for data, share in ((Batches(), 0.2), ((X, Y), 0.99)):
        with pytest.raises(ValueError, match="validation_split"):
            split(data, share)
