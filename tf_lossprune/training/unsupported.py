"""The training step where a backend has none yet."""

import keras


class UnsupportedStep:
    """Mix-in for `PrunedModel` that says which backends train."""

    def sync_state(self):
        """Nothing to do: no step runs."""

    def make_variables(self, batch):
        """Nothing to do: `train_step` raises."""

    def widths_are_open(self):
        """Whether the widths are not fixed yet."""
        return self.gates.read("fixed") == 0

    def train_step(self, *args, **kwargs):
        raise NotImplementedError(
            "Learning the widths runs on the TensorFlow and JAX backends; the one-shot "
            "methods and `strip_pruning` run on any. Set KERAS_BACKEND=tensorflow. "
            f"Received: backend {keras.backend.backend()!r}"
        )
