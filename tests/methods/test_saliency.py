"""The central claim: saliency says what it costs to remove a channel."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import tf_lossprune

layers = keras.layers
SAMPLES, BATCH, EPOCHS = 1024, 64, 6
#: Whose channels are removed -> who reads them, its kernel seen as (..., channel, out).
READERS = {
    "first": ("second", (3, 3, 16, 24)),
    "second": ("third", (9, 24, 24)),
    "third": ("head", (24, 10)),
}


def digits(noise):
    """Images with noise, and labels."""
    found = load_digits()
    x = found.images[:SAMPLES, ..., None] / 8.0 - 1.0
    x = x + noise * np.random.default_rng(0).normal(size=x.shape)
    return x.astype("float32"), found.target[:SAMPLES]


def compiled(model, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # XLA takes longer to compile on TensorFlow than all the training here.
    jit_compile = keras.backend.backend() != "tensorflow"
    model.compile(optimizer, loss, jit_compile=jit_compile)
    return model


def trained(x, y):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    h = layers.Conv2D(16, 3, padding="same", use_bias=False, name="first")(inputs)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.Conv2D(24, 3, strides=2, use_bias=False, name="second")(h)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.Dense(24, activation="relu", name="third")(layers.Flatten()(h))
    model = keras.Model(inputs, layers.Dense(10, name="head")(h))
    compiled(model, keras.optimizers.Adam(3e-3))
    model.fit(x, y, batch_size=BATCH, epochs=3, verbose=0)
    return model


def measured_rises(model, layer, x, y):
    """By how much the loss rises if one channel of a layer is taken from its reader.

    The statistics of normalisations are those of the network without the channel, as
    they are where a network is delivered.
    """
    name, shape = READERS[layer]
    kernel = model.get_layer(name).kernel
    whole = keras.ops.convert_to_numpy(kernel).copy()

    def loss():
        return float(model.loss(y, model(x, training=True)))

    before, rises = loss(), []
    for channel in range(shape[-2]):
        cut = whole.copy().reshape(shape)
        cut[..., channel, :] = 0.0
        kernel.assign(cut.reshape(whole.shape))
        rises.append(loss() - before)
    kernel.assign(whole)
    return rises


def spearman(a, b):
    """Spearman's rank correlation."""
    return np.corrcoef(*(np.argsort(np.argsort(values)) for values in (a, b)))[0, 1]


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_saliency_ranks_channels_by_what_their_removal_costs(noise):
    """All channels of all layers in one order; weight norms give a worse one."""
    x, y = digits(noise)
    model = trained(x, y)
    steps = EPOCHS * SAMPLES // BATCH
    pruned = tf_lossprune.prune_model(
        model,
        {"macs": 1.0},
        schedule=tf_lossprune.Schedule(search=1.0, total_steps=steps + 1),
        channel_multiple=1,
    )
    # The weights rest, and the search sees the gradients of the training data.
    compiled(pruned, keras.optimizers.SGD(0.0))
    pruned.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    saliency = keras.ops.convert_to_numpy(pruned.search.saliency())
    norms = pruned.current_importance()
    units = {group.producers[0]: group.units for group in pruned.groups}
    assert sorted(units) == sorted(READERS)
    order = np.concatenate([units[layer] for layer in READERS])
    rises = np.concatenate([measured_rises(model, la, x, y) for la in READERS])
    by_saliency = spearman(saliency[order], rises)
    by_norm = spearman(norms[order], rises)
    assert by_saliency >= 0.7
    assert by_saliency > by_norm + 0.1
