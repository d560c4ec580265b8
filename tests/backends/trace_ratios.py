"""Learns ratios on the digits and writes them down after every step.

Run in a process of its own, with `KERAS_BACKEND` set:

    python -m tests.backends.trace_ratios out.npz --steps=30
"""

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits

import tf_lossprune
from examples import models

BATCH = 64


def digits():
    """The first 512 digits, as images and labels."""
    found = load_digits()
    x = (found.images[:512, ..., None] / 8.0 - 1.0).astype("float32")
    return x, found.target[:512]


class Trace(keras.callbacks.Callback):
    """Keeps the ratios' logarithms after every step."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_train_batch_end(self, batch, logs=None):
        self.model.sync_state()
        value = self.model.search.log_ratio.value
        self.rows.append(keras.ops.convert_to_numpy(value).copy())


def run(steps, variance=None, rate=0.003, sampler="deterministic", order=2):
    """Searches for `steps` steps.

    Args:
        steps: int.
        variance: float or None, of the gates all the time; None: as by default.
        rate: float, of the weights.
        sampler: as in `prune_model`; by default gates equal their probabilities.
        order: int, of the method.

    Returns:
        Ratios' logarithms `[steps, groups]` and the kept channels.
    """
    keras.utils.set_random_seed(0)
    model = models.digits_resnet()
    models.randomize(model, 0)
    fixed = {} if variance is None else dict.fromkeys(
        ("start_variance", "end_variance"), variance
    )  # fmt: skip
    pruned = tf_lossprune.prune_model(
        model,
        {"macs": 0.5},
        method=tf_lossprune.methods.Loss(order=order),
        sampler=sampler,
        schedule=tf_lossprune.Schedule(search=1.0, total_steps=steps, **fixed),
        channel_multiple=1,
    )
    pruned.compile(
        keras.optimizers.SGD(rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x, y = digits()
    trace = Trace()
    epochs = -(-steps * BATCH // len(x))
    pruned.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[trace],
    )
    kept = [count for count, _ in pruned.kept_channels().values()]
    return np.array(trace.rows[:steps]), np.array(kept)


def main():
    """Runs with the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--variance", type=float)
    parser.add_argument("--rate", type=float, default=0.003)
    parser.add_argument("--order", type=int, default=2)
    given = vars(parser.parse_args())
    path = given.pop("path")
    rows, kept = run(**given)
    np.savez(path, rows=rows, kept=kept)


if __name__ == "__main__":
    main()
