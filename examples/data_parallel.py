r"""Search and fine-tuning on several devices, with JAX.

One process with several devices (here simulated on a CPU):

    KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=2 \
        python -m examples.data_parallel

Several processes, each with its devices (here two on one machine); start one with
`--process=0` and one with `--process=1`:

    KERAS_BACKEND=jax python -m examples.data_parallel --processes=2 --process=0 &
    KERAS_BACKEND=jax python -m examples.data_parallel --processes=2 --process=1

Every process prints the same widths.
"""

import keras
from absl import app, flags

from examples import several_devices
from examples.batches import ArrayBatches

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this script."""
    several_devices.define_flags()
    flags.DEFINE_integer("processes", 1, "Number of processes.")
    flags.DEFINE_integer("process", 0, "Which of them this is.")
    flags.DEFINE_string("coordinator", "localhost:9876", "Address of process 0.")


def distribute():
    """Sets up the processes and spreads every batch over all devices."""
    if FLAGS.processes > 1:
        keras.distribution.initialize(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    devices = keras.distribution.list_devices()
    print(f"devices: {devices}")
    # Every process makes whole batches; each device takes its part of them.
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    )


def main(argv):
    """Trains on the digits and prints the widths."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if keras.backend.backend() != "jax":
        raise app.UsageError(
            "keras.distribution runs on JAX: set KERAS_BACKEND=jax. For several "
            "devices on TensorFlow see examples/mirrored.py"
        )
    distribute()
    x, y = several_devices.training_images()
    train = ArrayBatches(x, y, FLAGS.batch_size, FLAGS.seed)
    several_devices.search(several_devices.wrapped_model(), train)


if __name__ == "__main__":
    define_flags()
    app.run(main)
