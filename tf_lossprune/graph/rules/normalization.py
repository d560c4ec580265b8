"""Normalisation with one statistic per channel."""

import keras
import numpy as np

from tf_lossprune.graph import labels as lb
from tf_lossprune.graph.rules.registry import register_rule


@register_rule(keras.layers.BatchNormalization)
def batch_normalization(ctx, layer):
    rank = len(ctx.inputs[0].shape)
    axis = layer.axis % rank - 1  # without the batch dimension
    shape = ctx.inputs[0].sample_shape
    channels = lb.along(ctx.input_labels[0], axis, shape[axis])
    if channels is None:
        ctx.freeze_all("its channels are not laid out along its axis")
        channels = np.zeros(shape[axis], int)
    names = ["moving_mean", "moving_variance"]
    names += ["gamma"] if layer.scale else []
    names += ["beta"] if layer.center else []
    for name in names:
        ctx.weight(name, {0: channels})
    if ctx.output_labels is None:
        ctx.output(ctx.input_labels[0])
