r"""Trains a small network on the digits, killed again and again, and once in peace.

Run in a process of its own. Both trainings write the widths, weights and all that a
search keeps into the folder; what the kills met goes to standard output.

    python -m tests.training.killed_runs FOLDER --kills=20 --seed=0
"""

import argparse
import json
import os
import random
import signal
import time

# One thread, before TensorFlow starts: sums in one order.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

import tf_lossprune  # noqa: E402

layers = keras.layers

STEPS, BATCH = 6, 64
#: A life gets at most this far, so that none of the kills comes after the end.
LONGEST_LIFE = 2 * STEPS
#: Seconds within which the kill comes after a step, or after the start.
DELAY, START = 0.1, 3.0


class Digits(keras.utils.PyDataset):
    """Batches in an order that depends on the epoch, and on nothing else."""

    def __init__(self):
        super().__init__()
        found = load_digits()
        self.x = (found.images[..., None] / 8.0 - 1.0).astype("float32")
        self.y = found.target
        self.epoch = 0

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        order = np.random.default_rng(self.epoch).permutation(len(self.x))
        part = order[index * BATCH : (index + 1) * BATCH]
        return self.x[part], self.y[part]


class Progress(keras.callbacks.Callback):
    """Tells the data the epoch, and another process that a step is over."""

    def __init__(self, data, pipe):
        super().__init__()
        self.data, self.pipe = data, pipe

    def on_epoch_begin(self, epoch, logs=None):
        self.data.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        os.write(self.pipe, b".")


def build():
    """The compiled model, with everything in it that has a state."""
    inputs = x = keras.Input((8, 8, 1))
    for index, width in enumerate((8, 16)):
        x = layers.Conv2D(width, 3, strides=2, use_bias=False)(x)
        x = layers.BatchNormalization(name=f"norm{index}")(x)
        x = layers.ReLU()(x)
        x = layers.Dropout(0.1)(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10)(x))
    pruned = tf_lossprune.prune_model(
        model,
        {"macs": 0.5},
        schedule=tf_lossprune.Schedule(warmup=0.1, search=0.6),
        constraint=tf_lossprune.constraints.AugmentedLagrangian(),
        importance=tf_lossprune.importances.Taylor(interval=4),
        channel_multiple=1,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    return pruned


def train(folder, name, epochs, pipe):
    """Trains to the end, from where a former process was killed; saves the result."""
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    pruned, data = build(), Digits()
    safe = tf_lossprune.callbacks.SafeBackupAndRestore(os.path.join(folder, name))
    callbacks = [safe, Progress(data, pipe)]
    pruned.fit(data, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    variables = [*pruned.variables, *pruned.optimizer.variables]
    variables += pruned.ratio_optimizer.variables
    arrays = {
        f"{index}_{v.name}": keras.ops.convert_to_numpy(v.value)
        for index, v in enumerate(variables)
    }
    arrays["widths"] = np.array([k for k, _ in pruned.kept_channels().values()])
    part = os.path.join(folder, f"part_{name}.npz")
    np.savez(part, **arrays)
    os.replace(part, os.path.join(folder, f"{name}.npz"))


def start(*arguments):
    """Forks a process that trains; returns its id and the pipe that it reports to.

    All of them have the start of the interpreter and the imports in common:
    TensorFlow itself starts only when it is used.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return process, reader
    status = 1
    try:
        os.close(reader)
        train(*arguments, writer)
        status = 0
    finally:
        os._exit(status)


def finish(process, reader):
    """Waits for a process that ends by itself."""
    while os.read(reader, 4096):
        pass
    os.close(reader)
    _, status = os.waitpid(process, 0)
    if status:
        raise RuntimeError(f"Training failed with status {status}")


def kill(process, reader, steps, delay):
    """Kills a process some time after a number of steps; returns the steps seen."""
    seen = 0
    while seen < steps and os.read(reader, 1):
        seen += 1
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    while found := os.read(reader, 4096):
        seen += len(found)
    os.close(reader)
    _, status = os.waitpid(process, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError(f"The process was over (status {status}) before the kill")
    return seen


def main():
    """Runs with the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    # More than the lives that are killed can get through.
    epochs = 3 * options.kills
    finish(*start(options.folder, "peaceful", epochs))
    met = []
    backup = os.path.join(options.folder, "killed")
    for _ in range(options.kills):
        steps = dice.randrange(LONGEST_LIFE)
        delay = dice.uniform(0.0, DELAY if steps else START)
        life = start(options.folder, "killed", epochs)
        seen = kill(*life, steps, delay)
        files = sorted(os.listdir(backup)) if os.path.isdir(backup) else []
        met.append({"steps": seen, "files": files})
    finish(*start(options.folder, "killed", epochs))
    print(json.dumps(met))


if __name__ == "__main__":
    main()
