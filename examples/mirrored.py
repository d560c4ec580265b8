"""Search on several devices with TensorFlow's MirroredStrategy.

Without GPUs, the CPU is split into two logical devices:

    python -m examples.mirrored
"""

import tensorflow as tf
from absl import app, flags

from examples import several_devices

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this script."""
    several_devices.define_flags()
    flags.DEFINE_integer("devices", 2, "Logical devices; 1: no strategy.")


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
    with strategy().scope():
        pruned = several_devices.wrapped_model()
    data = tf.data.Dataset.from_tensor_slices(several_devices.training_images())
    several_devices.search(pruned, data.batch(FLAGS.batch_size, drop_remainder=True))


if __name__ == "__main__":
    define_flags()
    app.run(main)
