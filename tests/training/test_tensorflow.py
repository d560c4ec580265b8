"""The step on TensorFlow."""

from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

import tf_lossprune
from tests.training import small


class TracingTest(parameterized.TestCase):
    @parameterized.parameters("arrays", "dataset", "weighted", "fixed_batch")
    def test_the_step_is_traced_once(self, form):
        x, y = small.data()
        given = {"x": x, "y": y, "batch_size": small.BATCH}
        if form == "dataset":
            given = {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(8)}
        if form == "fixed_batch":
            data = tf.data.Dataset.from_tensor_slices((x, y))
            given = {"x": data.batch(8, drop_remainder=True)}
        if form == "weighted":
            given["sample_weight"] = x[:, 0] ** 2
        pruned = small.compile_model(small.prune(small.network()))
        # Called once in each step's Python code, so once in each trace; and the gated
        # network's own code is in no other trace.
        with (
            self._counted("begin_step") as steps,
            self._counted("run_network") as passes,
        ):
            pruned.fit(epochs=2, verbose=0, **given)
        self.assertEqual(steps.call_count, 1)
        self.assertEqual(passes.call_count, 1)

    def _counted(self, name):
        """A context in which the calls of a method of `PrunedModel` are counted."""
        original = getattr(tf_lossprune.PrunedModel, name)
        return mock.patch.object(
            tf_lossprune.PrunedModel, name, autospec=True, side_effect=original
        )
