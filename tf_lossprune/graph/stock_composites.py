"""Keras' own layers that call other layers or functions: how they are opened."""

import keras
from keras import ops

from tf_lossprune.graph.fixed_mode import minds_mode
from tf_lossprune.graph.steps import CannotOpen


def _time_distributed(layer, inputs, training=None, mask=None):
    """The layer inside, on all steps: at once where it does not mind, else on each.

    A batch normalisation inside it, for one, has statistics of each step.
    """
    if mask is not None:
        raise CannotOpen("a mask comes with its input")
    inner, steps = layer.layer, inputs.shape[1]
    if type(inner) in _ALONG_THE_LAST_AXIS:
        return inner(inputs)
    if minds_mode(inner):
        return ops.stack([inner(inputs[:, i]) for i in range(steps)], axis=1)
    sizes = ops.shape(inputs)
    together = inner(ops.reshape(inputs, (sizes[0] * steps, *sizes[2:])))
    return ops.reshape(together, (sizes[0], steps, *together.shape[1:]))


#: Layers that treat one more axis as they treat the samples.
_ALONG_THE_LAST_AXIS = (
    keras.layers.Activation,
    keras.layers.Dense,
    keras.layers.ELU,
    keras.layers.Embedding,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
    keras.layers.Rescaling,
)

#: The classes that are opened, and what to call in place of `layer.call`.
_CALLS = {
    keras.layers.Lambda: keras.layers.Lambda.call,
    keras.layers.TimeDistributed: _time_distributed,
}


def stock_call(layer):
    """What a layer of Keras computes, as a function of its call's arguments.

    Returns None for one that is not opened.
    """
    call = _CALLS.get(type(layer))
    return call and (lambda *args, **kwargs: call(layer, *args, **kwargs))
