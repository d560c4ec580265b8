"""Tests of how training data are read."""

import inspect

import keras
import numpy as np
import pytest

from tf_lossprune.training.data import BEHIND_CALLBACKS, batches, trained_on


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.data comes with TensorFlow"
)
class TestTensorFlowData:
    def _data(self):
        import tensorflow as tf

        options = tf.data.Options()
        options.deterministic = True
        return tf.data.Dataset.range(6).shuffle(6, seed=1).with_options(options)

    def test_same_batches_without_the_tuning_thread(self):
        data, same = self._data(), self._data()
        found = batches(data)
        assert [int(x) for x in found] == [int(x) for x in same]
        assert found.options().autotune.enabled is False
        assert found.options().deterministic is True
        # The user's own pipeline stays as it was.
        assert data.options().autotune.enabled is None
        # And it may have been switched off already.
        assert batches(found).options().autotune.enabled is False


def test_other_data_are_handed_on():
    rows = [np.zeros(2), np.ones(2)]
    data = {"a": rows}.values()
    assert batches(data) is data
    assert [b[0].shape for b in batches((np.zeros((5, 3)),), 2)] == [
        (2, 3),
        (2, 3),
        (1, 3),
    ]
    assert list(batches(x for x in rows)) == []


def test_the_order_is_that_of_fit():
    names = [*inspect.signature(keras.Model.fit).parameters]
    behind = names[names.index("callbacks") + 1 :] if "callbacks" in names else None
    if behind is None:
        pytest.skip("this backend does not train")
    assert tuple(behind[: len(BEHIND_CALLBACKS)]) == BEHIND_CALLBACKS


@pytest.mark.parametrize(
    ("args", "kwargs", "count"),
    [
        ((), {}, 8),
        ((0.25,), {}, 6),
        ((), {"validation_split": 0.25}, 6),
        ((0.25, (np.zeros((2, 3)), np.zeros(2))), {}, 8),  # Keras then holds none out
        ((0.0, None, True, {0: 2.0}, np.ones(8)), {}, 8),
        ((), {"sample_weight": np.ones(8), "class_weight": {0: 2.0}}, 8),
    ],
)
def test_what_a_call_of_fit_trains_on(args, kwargs, count):
    x, y = {"a": np.arange(24.0).reshape(8, 3)}, np.arange(8)
    data, batch_size, class_weight = trained_on(x, y, 4, *args, **kwargs)
    weighs = len(args) > 4 or "sample_weight" in kwargs
    assert len(data) == 2 + weighs and batch_size == 4
    assert class_weight == ({0: 2.0} if weighs else None)
    np.testing.assert_array_equal(data[0]["a"], x["a"][:count])
    np.testing.assert_array_equal(data[1], y[:count])


def test_data_that_are_no_arrays_are_trained_on_as_they_are():
    data = iter([])
    assert trained_on(data, None, None)[0] is data
