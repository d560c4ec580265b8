"""Batch normalisations that follow no convolution, as convolutions of their own.

After a convolution, a batch normalisation disappears into its kernel when a file is
made. Elsewhere (before the convolution, or behind a concatenation) it stays two
operations, a product and a sum, between which int8 has no range. A depthwise
convolution over single pixels computes the same and has an int8 form.
"""

from typing import Any

import keras
import numpy as np

from tf_lossprune.graph import Call, replay, trace
from tf_lossprune.graph.replaying import Cloner, make_inputs

#: Layers that take up the batch normalisation behind them.
_ABSORBING = (
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def as_convolutions(model: keras.Model) -> keras.Model:
    """A copy with those batch normalisations replaced, or the model if there are none.

    Args:
        model: Built functional or Sequential `keras.Model`; not changed.

    Returns:
        A `keras.Model` that computes the same in inference. The statistics of what
        was replaced are fixed in it.
    """
    graph = trace(model)
    made_by = {id(t): call for call in graph.calls for t in call.outputs}
    readers = graph.readers()
    alone = {}
    for call in graph.calls:
        layer = call.operation
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        (tensor,) = call.inputs
        maker = made_by.get(id(tensor))
        absorbed = (
            maker is not None
            and isinstance(maker.operation, _ABSORBING)
            and maker.operation.activation is keras.activations.linear
            and readers[id(tensor)] == 1
        )
        images = len(tensor.shape) == 4 and layer.axis in (-1, 3)
        if images and not absorbed:
            alone[id(layer)] = layer
    if not alone:
        return model
    cloner, made = Cloner(graph.layers), {}

    def call_fn(call: Call, args: tuple, kwargs: dict[str, Any]) -> Any:
        layer = call.operation
        args, kwargs = cloner.arguments([args, kwargs])
        if id(layer) not in alone:
            return cloner.copy(layer)(*args, **kwargs)
        if id(layer) not in made:
            made[id(layer)] = keras.layers.DepthwiseConv2D(
                1, name=cloner.unique(layer.name)
            )
        return made[id(layer)](args[0])

    inputs = make_inputs(graph, cloner)
    outputs = replay(graph, inputs, call_fn)
    copy = keras.Model(inputs, outputs, name=graph.name)
    for key, layer in alone.items():
        made[key].set_weights(_scale_and_shift(layer))
    return copy


def _scale_and_shift(layer: keras.layers.Layer) -> list[np.ndarray]:
    """Kernel `[1, 1, channels, 1]` and bias of a batch normalisation in inference."""
    mean = keras.ops.convert_to_numpy(layer.moving_mean)
    variance = keras.ops.convert_to_numpy(layer.moving_variance)
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * keras.ops.convert_to_numpy(layer.gamma)
    shift = -mean * scale
    if layer.center:
        shift = shift + keras.ops.convert_to_numpy(layer.beta)
    return [scale[None, None, :, None], shift]
