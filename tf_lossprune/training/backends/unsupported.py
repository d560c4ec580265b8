"""The training step where a backend has none yet."""

import keras

from tf_lossprune.training.backends.base import Backend


class Step(Backend):
    """Says which backends train."""

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
