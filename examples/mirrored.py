"""Search on several devices with TensorFlow's MirroredStrategy.

Without GPUs, the CPU is split into two logical devices:

    python -m examples.mirrored
"""

import json

import keras
import tensorflow as tf
from absl import app, flags

import tf_lossprune
from examples import data as example_data
from examples import models
from examples.flags import parse_budget

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("budget", "macs=0.5", "Budget, as macs=0.5,params=0.4.")
    flags.DEFINE_integer("epochs", 6, "Epochs of search and fine-tuning.")
    flags.DEFINE_integer("batch_size", 64, "Images in a batch, over all devices.")
    flags.DEFINE_integer("limit", 1024, "Training images.")
    flags.DEFINE_integer("devices", 2, "Logical devices; 1: no strategy.")
    flags.DEFINE_bool("deterministic", False, "Gates equal their probabilities.")
    flags.DEFINE_integer("seed", 0, "Seed of weights and batches.")
    flags.DEFINE_string("out", None, "Where the widths go (.json).")


def strategy():
    """All GPUs, or logical devices of the CPU."""
    if FLAGS.devices == 1:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.distribute.MirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * FLAGS.devices
    )
    names = [f"CPU:{index}" for index in range(FLAGS.devices)]
    return tf.distribute.MirroredStrategy(names)


def main(argv):
    """Trains on the digits and prints the widths."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    scope = strategy()
    keras.utils.set_random_seed(FLAGS.seed)
    digits = example_data.load_digits()
    with scope.scope():
        pruned = tf_lossprune.prune_model(
            models.digits_resnet(),
            parse_budget(FLAGS.budget),
            draw=tf_lossprune.DeterministicDraw() if FLAGS.deterministic else None,
            seed=FLAGS.seed,
        )
        pruned.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    x, y = digits.x_train[: FLAGS.limit], digits.y_train[: FLAGS.limit]
    train = tf.data.Dataset.from_tensor_slices((x, y)).batch(
        FLAGS.batch_size, drop_remainder=True
    )
    history = pruned.fit(train, epochs=FLAGS.epochs, verbose=0).history
    widths = {name: kept for name, (kept, _) in pruned.kept_channels().items()}
    print(f"loss {history['loss'][-1]:.4f}, widths {widths}")
    if FLAGS.out:
        with open(FLAGS.out, "w") as file:
            json.dump({"widths": widths, "loss": history["loss"]}, file)


if __name__ == "__main__":
    define_flags()
    app.run(main)
