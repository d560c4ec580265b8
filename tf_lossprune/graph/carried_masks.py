"""Masks that come with tensors, as layers of a flat model.

Keras attaches them when a model runs, and its layers find them there. Code of the
user's that computes with one gets it from a layer; and what it attaches where Keras'
layers would not, a layer attaches.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tf_lossprune")
class MaskOf(keras.layers.Layer):
    """Gives out the mask that comes with its input.

    Args:
        shape: tuple, of the mask, None for the number of samples.
    """

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self._convert_input_args = False
        self.built = True

    def call(self, inputs, mask=None):
        if mask is None:
            raise ValueError(
                "Expected an input that has a mask attached, as when the model was "
                f"opened. Received: one without, in {self.name!r}"
            )
        return ops.copy(mask)

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_spec(self, inputs, mask=None):
        return keras.KerasTensor(self.shape, "bool")

    def get_config(self):
        return {**super().get_config(), "shape": list(self.shape)}


@keras.saving.register_keras_serializable(package="tf_lossprune")
class WithMask(keras.layers.Layer):
    """Passes its input on with a mask attached."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._convert_input_args = False
        self.built = True

    def call(self, inputs, mask=None):
        return ops.copy(inputs)  # others that read the input do not get the mask

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask

    def compute_output_spec(self, inputs, mask=None):
        return keras.KerasTensor(inputs.shape, inputs.dtype)
