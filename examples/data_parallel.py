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

import json

import keras
from absl import app, flags

import tf_lossprune
from examples import data as example_data
from examples import models
from examples.batches import ArrayBatches
from examples.flags import parse_budget

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of this script."""
    flags.DEFINE_string("budget", "macs=0.5", "Budget, as macs=0.5,params=0.4.")
    flags.DEFINE_integer("epochs", 6, "Epochs of search and fine-tuning.")
    flags.DEFINE_integer("batch_size", 64, "Images in a batch, over all devices.")
    flags.DEFINE_integer("limit", 1024, "Training images.")
    flags.DEFINE_integer("processes", 1, "Number of processes.")
    flags.DEFINE_integer("process", 0, "Which of them this is.")
    flags.DEFINE_string("coordinator", "localhost:9876", "Address of process 0.")
    flags.DEFINE_bool("deterministic", False, "Gates equal their probabilities.")
    flags.DEFINE_integer("seed", 0, "Seed of weights and batches.")
    flags.DEFINE_string("out", None, "Where the widths go (.json).")


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
    keras.utils.set_random_seed(FLAGS.seed)
    digits = example_data.load_digits()
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
    train = ArrayBatches(x, y, FLAGS.batch_size, FLAGS.seed)
    history = pruned.fit(train, epochs=FLAGS.epochs, verbose=0).history
    widths = {name: kept for name, (kept, _) in pruned.kept_channels().items()}
    print(f"loss {history['loss'][-1]:.4f}, widths {widths}")
    if FLAGS.out:
        with open(FLAGS.out, "w") as file:
            json.dump({"widths": widths, "loss": history["loss"]}, file)


if __name__ == "__main__":
    define_flags()
    app.run(main)
