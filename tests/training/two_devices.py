"""Trains on one device and on two with a MirroredStrategy; prints what comes of it.

Run in a process of its own: the CPU is split before TensorFlow starts.
"""

import json
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

import tf_lossprune
from tests.training import small

FEW = {"first": 8, "second": 8}


def make(**options):
    """A pruned model without anything that depends on a device's share of a batch."""
    keras.utils.set_random_seed(0)
    model = small.network(norm=False)
    return small.compile_model(
        small.prune(model, sampler="deterministic", **options),
        keras.optimizers.SGD(0.05, momentum=0.9),
    )


def result(pruned, history):
    return {
        "loss": history["loss"],
        "ratios": keras.ops.convert_to_numpy(pruned.search.log_ratio.value).tolist(),
        "weights": [w.tolist() for w in pruned.get_weights()],
        "kept": [kept for kept, _ in pruned.kept_channels().values()],
        "step": pruned.search.read("step"),
        "phase": pruned.phase,
    }


def main(folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    alone = make()
    found = {"alone": result(alone, small.fit(alone).history)}
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        pruned = make()
    history = small.fit(pruned).history
    found["mirrored"] = result(pruned, history)
    options = {"schedule": small.schedule(frozen_search=True)}
    alone = make(**options)
    found["frozen alone"] = result(alone, small.fit(alone).history)
    with strategy.scope():
        frozen = make(**options)
    found["frozen"] = result(frozen, small.fit(frozen).history)
    # Networks are compared when training begins.
    alone = make(widths=FEW)
    found["given alone"] = result(alone, small.fit(alone).history)
    with strategy.scope():
        given = make(widths=FEW)
        found["given"] = result(given, small.fit(given).history)
        tf_lossprune.strip_pruning(given)
    path = os.path.join(folder, "w.weights.h5")
    pruned.save_weights(path)
    with strategy.scope():
        again = make()
        again.optimizer.build(again.trainable_variables)
    again.load_weights(path)
    pairs = zip(small.state(pruned), small.state(again), strict=True)
    found["restored"] = all(np.array_equal(a, b) for a, b in pairs)
    found["replicas"] = strategy.num_replicas_in_sync
    compact = tf_lossprune.strip_pruning(pruned)
    found["share"] = tf_lossprune.cost(compact)["macs"] / pruned.costs["macs"].dense
    print(json.dumps(found))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(temporary)
