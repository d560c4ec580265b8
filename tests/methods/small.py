"""A small residual network and data for the methods."""

import keras
import numpy as np

from examples import models


def small_net(seed=0):
    keras.utils.set_random_seed(seed)
    model = models.build(
        "resnet", input_shape=(6, 6, 1), classes=4, width=8, stages=2, blocks=1
    )
    models.randomize(model, seed)
    return model


def images(count=96):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 6, 6, 1)).astype("float32")
    return x, (x.mean(axis=(1, 2, 3)) > 0).astype("int32")


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
