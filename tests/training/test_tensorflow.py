"""The step on TensorFlow."""

from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

import tf_lossprune
from tests.training import small


class TracingTest(parameterized.TestCase):
    @parameterized.parameters("arrays", "dataset", "weighted")
    def test_the_step_is_traced_once(self, form):
        x, y = small.data()
        given = {"x": x, "y": y, "batch_size": small.BATCH}
        if form == "dataset":
            given = {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(8)}
        if form == "weighted":
            given["sample_weight"] = x[:, 0] ** 2
        pruned = small.compile_model(small.prune(small.network()))
        # Called once in each step's Python code, so once in each trace.
        original = tf_lossprune.PrunedModel.loss_with_penalty
        with mock.patch.object(
            tf_lossprune.PrunedModel, "loss_with_penalty", autospec=True
        ) as traced:
            traced.side_effect = original
            pruned.fit(epochs=2, verbose=0, **given)
        self.assertEqual(traced.call_count, 1)
