"""The wrapper that gates a call which mixes channels without a kernel."""

import keras
import numpy as np
from keras import ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.gates.layers import GatedLayer, unpacked


@keras.saving.register_keras_serializable(package="tf_lossprune")
class GatedCall(keras.layers.Layer):
    """A layer or operation that is computed over the kept channels only.

    Normalisation over channels, softmax, sums and products of activations have no
    kernel through which a gate could act. So a computation takes their place that gets
    the gates of the channels it mixes.

    Args:
        layer: the built layer, or the operation, whose call it is.
        computation: function `(layer, gates, *args, **kwargs)`, see
            `Context.gated_call`.
        units: array, the unit index of each element of an argument, broadcastable to
            it, with an axis of size 1 for the batch. Unit 0 is never gated.

    Example:

    ```python
    gated = GatedCall(norm, gated_calls.layer_normalization, [[1, 2, 3]])
    y = gated(x, keras.ops.array([1.0, 1.0, 0.0, 1.0]))  # without channel 1
    ```
    """

    def __init__(self, layer, computation, units, **kwargs):
        kwargs.setdefault("name", f"gated_{layer.name}")
        kwargs["autocast"] = False  # what is cast, is cast as the layer does it
        super().__init__(**kwargs)
        self.supports_masking = True  # as far as the layer does
        self.layer = layer
        self.activity_regularizer = getattr(layer, "activity_regularizer", None)
        self.computation = computation
        self.units = np.array(units, "int32")

    def build(self, *shapes, **named_shapes):
        self.built = True  # the layer is

    def call(
        self,
        inputs,
        gates,
        *others,
        mask=None,
        tensors=None,
        training=None,
        **kwargs,
    ):
        """Runs the computation.

        Args:
            inputs: tensor, the layer's first argument.
            gates: float `[num_units + 1]`.
            *others: its other positional arguments.
            mask: tensor or None, its `mask`.
            tensors: dict of its other keyword arguments that are tensors.
            training: bool or None, handed on if the layer takes it.
            **kwargs: its keyword arguments that are none.
        """
        kwargs = unpacked(kwargs, mask, tensors)
        if internals.takes_training(self.layer):
            kwargs["training"] = training
        args = (inputs, *others)
        if isinstance(self.layer, keras.layers.Layer):
            args = keras.tree.map_structure(self._cast, args)
        gates = ops.reshape(ops.take(gates, self.units.reshape(-1)), self.units.shape)
        return self.computation(self.layer, gates, *args, **kwargs)

    def _cast(self, x):
        layer = self.layer
        return layer.dtype_policy.convert_input(x, layer.autocast, layer.input_dtype)

    def compute_mask(self, inputs, previous_mask):
        if getattr(self.layer, "supports_masking", False):
            return self.layer.compute_mask(inputs, previous_mask)
        return None

    def compute_output_spec(
        self, inputs, gates, *others, mask=None, tensors=None, training=None, **kwargs
    ):
        kwargs = unpacked(kwargs, mask, tensors)
        return self.layer.compute_output_spec(inputs, *others, **kwargs)

    def get_config(self):
        config = super().get_config()
        config.pop("autocast", None)
        return {
            **config,
            "layer": keras.saving.serialize_keras_object(self.layer),
            "computation": keras.saving.serialize_keras_object(self.computation),
            "units": self.units.tolist(),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for key in ("layer", "computation"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return cls(**config)


def ungated(operation):
    """The layer or operation that a gated one stands for; itself if it is not one."""
    gated = isinstance(operation, (GatedLayer, GatedCall))
    return operation.layer if gated else operation
