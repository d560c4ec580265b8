"""What the examples on several devices share: flags, the search, the result."""

import json

import keras
from absl import flags

import tf_lossprune
from examples import data as example_data
from examples import models
from examples.flags import parse_budget

FLAGS = flags.FLAGS


def define_flags():
    """Defines the flags of both examples."""
    flags.DEFINE_string("budget", "macs=0.5", "Budget, as macs=0.5,params=0.4.")
    flags.DEFINE_integer("epochs", 6, "Epochs of search and fine-tuning.")
    flags.DEFINE_integer("batch_size", 64, "Images in a batch, over all devices.")
    flags.DEFINE_integer("limit", 1024, "Training images.")
    flags.DEFINE_bool("deterministic", False, "Gates equal their probabilities.")
    flags.DEFINE_integer("seed", 0, "Seed of weights and batches.")
    flags.DEFINE_string("out", None, "Where the widths go (.json).")


def training_images():
    """The digits' first `--limit` training images and their labels."""
    digits = example_data.load_digits()
    return digits.x_train[: FLAGS.limit], digits.y_train[: FLAGS.limit]


def wrapped_model():
    """The compiled model that searches."""
    keras.utils.set_random_seed(FLAGS.seed)
    pruned = tf_lossprune.prune_model(
        models.digits_resnet(),
        parse_budget(FLAGS.budget),
        sampler="deterministic" if FLAGS.deterministic else "hard",
        seed=FLAGS.seed,
    )
    pruned.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return pruned


def search(pruned, train):
    """Trains, prints the widths and writes them to `--out`."""
    history = pruned.fit(train, epochs=FLAGS.epochs, verbose=0).history
    widths = {name: kept for name, (kept, _) in pruned.kept_channels().items()}
    print(f"loss {history['loss'][-1]:.4f}, widths {widths}")
    if FLAGS.out:
        with open(FLAGS.out, "w") as file:
            json.dump({"widths": widths, "loss": history["loss"]}, file)
