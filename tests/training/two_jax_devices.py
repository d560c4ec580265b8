"""Trains on one device and on two, with `keras.distribution`; prints what comes of it.

Run in a process of its own, on JAX: the CPU is split before it starts.
"""

import json
import os
import tempfile

import keras
import numpy as np

import tf_lossprune
from tests.training import small


def make(multiple=1):
    """A pruned model whose gates do not depend on the number of devices."""
    keras.utils.set_random_seed(0)
    return small.compile_model(
        small.prune(
            small.network(), sampler="deterministic", channel_multiple=multiple
        ),
        keras.optimizers.SGD(0.05, momentum=0.9),
        jit_compile=True,
    )


def result(pruned):
    found = small.fit(pruned).history
    return {
        "loss": found["loss"],
        "phase": found["phase"],
        "compact": pruned.is_compact,
        "kept": pruned.widths,
        "weights": [w.tolist() for w in pruned.get_weights()],
        "slots": [list(v.shape) for v in pruned.optimizer.variables],
    }


def shards(pruned):
    """Dict, path of a weight of the network -> shape of its part on a device."""
    return {
        w.path: list(w.value.sharding.shard_shape(tuple(w.shape)))
        for w in pruned.network.weights
    }


def data_parallel(folder):
    distribution = keras.distribution.DataParallel()
    keras.distribution.set_distribution(distribution)
    pruned = make()
    found = {**result(pruned), "devices": distribution.device_mesh.devices.size}
    path = os.path.join(folder, "w.weights.h5")
    pruned.save_weights(path)
    again = make()
    again.optimizer.build(again.trainable_variables)
    again.load_weights(path)
    pairs = zip(small.state(pruned), small.state(again), strict=True)
    compact = tf_lossprune.strip_pruning(pruned)
    found["restored"] = all(np.array_equal(a, b) for a, b in pairs)
    found["delivered"] = compact.count_params()
    return found


def model_parallel():
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout["(first|second)/kernel"] = (None, "model")
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    )
    found = {}
    for name, widths in (("open", None), ("given", {"first": 8, "second": 7})):
        try:
            small.fit(
                small.compile_model(
                    small.prune(small.network(), channel_multiple=1, widths=widths)
                )
            )
        except ValueError as error:
            found[name] = str(error)
    pruned = make(multiple=2)
    return {**found, **result(pruned), "shards": shards(pruned)}


def main(folder):
    alone = make()
    found = {"alone": result(alone), "data_parallel": data_parallel(folder)}
    found["model_parallel"] = model_parallel()
    print(json.dumps(found))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(temporary)
