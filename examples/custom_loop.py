"""Pruning without `fit`: a training loop written by hand, on the digits.

    python -m examples.custom_loop --budget=macs=0.5

What `fit` does in one step is spelled out: draw the gates, one backward pass for
weights and gates, two updates. On JAX: docs/training.md.
"""

import keras
import numpy as np
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
    flags.DEFINE_integer("dense_epochs", 15, "Epochs of the dense network.")
    flags.DEFINE_integer("epochs", 12, "Epochs of search and fine-tuning.")
    flags.DEFINE_integer("batch_size", 32, "Images in a batch.")
    flags.DEFINE_integer("seed", 0, "Seed of weights and batches.")


def train_step(pruned, loss_fn, optimizer):
    """Returns a compiled function of one batch that makes one training step."""

    @tf.function
    def train(x, y):
        step = pruned.begin_step(tf.shape(x)[0], optimizer)
        with tf.GradientTape() as tape:
            tape.watch(step.gates)
            y_pred = pruned.run_network(x, step.gates, training=True)
            loss = step.loss(loss_fn(y, y_pred))
        weights = pruned.trainable_variables
        by_gates, *by_weights = tape.gradient(loss, [step.gates, *weights])
        optimizer.apply(by_weights, weights)
        pruned.end_step(step, by_gates)
        return loss

    return train


def main(argv):
    """Trains, prunes in a hand-written loop, strips and evaluates."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    keras.utils.set_random_seed(FLAGS.seed)
    digits = example_data.load_digits()
    print(f"data: {digits.source}")
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    dense = models.digits_resnet()
    dense.compile(keras.optimizers.Adam(3e-3), loss_fn, metrics=["accuracy"])
    dense.fit(
        digits.x_train,
        digits.y_train,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.dense_epochs,
        verbose=0,
    )

    train = tf.data.Dataset.from_tensor_slices((digits.x_train, digits.y_train))
    train = train.shuffle(len(digits.x_train), seed=FLAGS.seed)
    train = train.batch(FLAGS.batch_size, drop_remainder=True)
    steps = len(train) * FLAGS.epochs
    pruned = tf_lossprune.prune_model(dense, parse_budget(FLAGS.budget))
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-3, steps)
    )
    optimizer.build(pruned.trainable_variables)
    step = train_step(pruned, loss_fn, optimizer)
    pruned.begin(steps)
    done = 0
    for epoch in range(FLAGS.epochs):
        losses = []
        for x, y in train:
            losses.append(float(step(x, y)))
            done += 1
            if done == pruned.search_end:
                pruned.decide()
                optimizer = pruned.shrink(optimizer)
                step = train_step(pruned, loss_fn, optimizer)
                tf_lossprune.reestimate_statistics(pruned.network, train)
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {pruned.phase}")

    compact = tf_lossprune.strip_pruning(pruned)
    tf_lossprune.training.reestimate_statistics(compact, train)
    compact.compile(loss=loss_fn, metrics=["accuracy"])
    for name, model in (("dense", dense), ("compact", compact)):
        _, accuracy = model.evaluate(digits.x_test, digits.y_test, verbose=0)
        print(f"{name:8s} test accuracy {accuracy:.4f}  {tf_lossprune.cost(model)}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
