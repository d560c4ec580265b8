"""The training step where a backend has none yet."""

import keras


class UnsupportedStep:
    """Mix-in for `PrunedModel` that says which backends train."""

    def sync_state(self):
        """Nothing to do: no step runs."""

    def commit_state(self):
        """Nothing to do: no step runs."""

    def make_variables(self, batch):
        """Nothing to do: `train_step` raises."""

    def widths_are_open(self):
        """Whether the widths are not fixed yet."""
        return self.gates.read("fixed") == 0

    def fit(self, *args, **kwargs):
        """Raises `NotImplementedError`, as every other way to train does."""
        self.train_step()

    def train_on_batch(self, *args, **kwargs):
        """Raises `NotImplementedError`."""
        self.train_step()

    def train_step(self, *args, **kwargs):
        """Raises `NotImplementedError`."""
        raise NotImplementedError(
            "A PrunedModel trains on the TensorFlow and JAX backends "
            "(KERAS_BACKEND=tensorflow or jax). On any other, prune with "
            "method='uniform', which needs no training, and train what `strip_pruning` "
            f"returns. Received: backend {keras.backend.backend()!r}"
        )
