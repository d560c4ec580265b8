"""Calls whose mode is fixed by whoever makes them: `layer(x, training=False)`."""

import keras

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.both_modes import ONLY_IN_TRAINING
from tf_lossprune.graph.steps import CannotOpen


def fixed_mode(kwargs, place):
    """The mode that a call is fixed to; None: the caller's."""
    if place.in_graph or place.training is not None:
        return place.training
    return kwargs.get("training")


def check_mode(layer, mode):
    """Raises `CannotOpen` if a layer needs the mode that its caller fixed.

    Keras' functional models, such as the opened one, call all layers in their own.
    """
    frozen = isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable
    if minds_mode(layer) and not (frozen and not mode):
        raise CannotOpen(
            f"it calls {layer.name!r} with training={mode}, which functional models "
            "override" + ("" if mode else "; freeze that layer as well")
        )


def minds_mode(layer):
    """Whether a layer may do something else in training."""
    if not type(layer).__module__.startswith("keras."):
        return True
    if ".preprocessing." in type(layer).__module__:
        return True
    inside = internals.all_layers(layer)
    rates = [
        getattr(la, n, 0) for la in inside for n in ("dropout", "recurrent_dropout")
    ]
    return any(isinstance(la, _MIND_MODE) for la in inside) or any(
        isinstance(rate, float) and rate > 0 for rate in rates
    )


_MIND_MODE = (
    *ONLY_IN_TRAINING,
    keras.layers.BatchNormalization,
    keras.layers.SpectralNormalization,
)
