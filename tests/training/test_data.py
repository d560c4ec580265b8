"""Tests of how training data are read."""

import keras
import numpy as np
import pytest

from tf_lossprune.training.data import batches


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
