"""One training step at a time, as `fit` does it, on TensorFlow and on JAX."""

import keras
import numpy as np


def random_batch(batch_size, shape, classes=10):
    """A batch of random images and labels.

    Args:
        batch_size: Images in the batch.
        shape: `(height, width, channels)`.
        classes: Number of labels.

    Returns:
        Float32 array `(batch_size, *shape)` and int array `(batch_size,)`.
    """
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, *shape)).astype("float32")
    return images, rng.integers(0, classes, batch_size)


class TensorFlowStepper:
    """A function without arguments that does one training step and waits for it.

    Args:
        model: Compiled `keras.Model`.
        batch: Arrays `(images, labels)` that every step trains on.
    """

    def __init__(self, model, batch):
        import tensorflow as tf

        dataset = tf.data.Dataset.from_tensors(batch).repeat()
        # Builds and compiles the step.
        model.fit(dataset.take(model.steps_per_execution), verbose=0)
        strategy = model.distribute_strategy
        self._iterator = iter(strategy.experimental_distribute_dataset(dataset))
        self._step = model.train_function

    def __call__(self):
        logs = self._step(self._iterator)
        # The step is over when its loss is known.
        return {name: float(value) for name, value in logs.items()}

    def finish(self):
        """Nothing to do: the model's variables hold what the last step left."""


class JaxStepper:
    """The same on JAX, where the state goes from step to step on the device.

    Args:
        model: Compiled `keras.Model`, for one step per execution.
        batch: Arrays `(images, labels)`.
    """

    def __init__(self, model, batch):
        import jax

        # Builds the metrics, which wait for the first batch.
        model.fit(*batch, batch_size=len(batch[0]), verbose=0)
        self._variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        # Copies, as a step's arguments are gone once it has run.
        self._state = tuple(
            [keras.ops.copy(v.value) for v in group] for group in self._variables
        )
        self._batch = jax.device_put(batch)
        compiled = jax.jit(model.train_step, donate_argnums=0)
        self._step = compiled if model.jit_compile else model.train_step
        self()

    def __call__(self):
        logs, self._state = self._step(self._state, self._batch)
        return {name: float(value) for name, value in logs.items()}

    def finish(self):
        """Hands the state back to the model's variables."""
        for group, values in zip(self._variables, self._state):
            for variable, value in zip(group, values):
                variable.assign(value)


def stepper(model, batch):
    """The stepper of this backend.

    Raises:
        ValueError: If the backend has none.
    """
    steppers = {"tensorflow": TensorFlowStepper, "jax": JaxStepper}
    backend = keras.backend.backend()
    if backend not in steppers:
        raise ValueError(
            f"Expected one of the backends {[*steppers]}. Received: {backend!r}"
        )
    return steppers[backend](model, batch)
