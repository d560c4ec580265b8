"""What a layer of the user's own held, as layers of a flat model."""

import contextlib

import keras
import numpy as np
from keras import ops

from tf_lossprune import keras_internals as internals


@keras.saving.register_keras_serializable(package="tf_lossprune")
class OwnWeight(keras.layers.Layer):
    """Gives out a weight, whatever it is called with; or passes that on and changes it.

    Args:
        shape: tuple.
        weight_dtype: string, the type that it is stored in.
        weight_trainable: bool.
        variable: `keras.Variable` or None; the weight, if there is one already.
    """

    def __init__(
        self, shape, weight_dtype=None, weight_trainable=True, variable=None, **kwargs
    ):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.weight_dtype = weight_dtype or self.variable_dtype
        self.weight_trainable = weight_trainable
        self._convert_input_args = False
        self.weight = variable
        self.built = variable is not None

    def build(self, *shapes, **named_shapes):
        if self.weight is None:
            self.weight = self.add_weight(
                name="weight",
                shape=self.shape,
                dtype=self.weight_dtype,
                trainable=self.weight_trainable,
            )

    def call(
        self,
        inputs,
        ndim=None,
        value=None,
        after=(),
        only_in_training=False,
        training=None,
    ):
        """Gives out the weight, or changes it.

        Args:
            inputs: tensor.
            ndim: int or None, how many axes it is to have.
            value: tensor or None, the weight's new value: then the inputs come out.
            after: what has been read before, so that it is.
            only_in_training: bool, whether it is changed in training only.
            training: bool or None.
        """
        if value is not None:
            if training or not only_in_training:
                self.weight.assign(value)
            return inputs
        weight = ops.convert_to_tensor(self.weight)
        return ops.reshape(weight, self._shape(ndim))

    def _shape(self, ndim):
        return (1,) * ((ndim or 0) - len(self.shape)) + self.shape

    def compute_output_spec(self, inputs, ndim=None, value=None, **others):
        if value is not None:
            return keras.KerasTensor(inputs.shape, inputs.dtype)
        dtype = type_in_use(self, self.weight_dtype)
        return keras.KerasTensor(self._shape(ndim), dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "weight_dtype": self.weight_dtype,
            "weight_trainable": self.weight_trainable,
        }


@keras.saving.register_keras_serializable(package="tf_lossprune")
class OwnConstant(keras.layers.Layer):
    """Gives out numbers that never change, whatever it is called with.

    Args:
        value: nested list or array.
        value_dtype: string, their type.
    """

    def __init__(self, value, value_dtype, **kwargs):
        super().__init__(**kwargs)
        self.value = np.asarray(value)
        self.value_dtype = value_dtype
        self._convert_input_args = False
        self.built = True

    def call(self, inputs):
        return ops.convert_to_tensor(self.value, self.value_dtype)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.value.shape, self.value_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "value": self.value.tolist(),
            "value_dtype": self.value_dtype,
        }


class ConstantTensor(keras.KerasTensor):
    """Stands for numbers that a layer is called with.

    Args:
        value: array.
    """

    def __init__(self, value):
        self.value = ops.convert_to_numpy(value)
        super().__init__(self.value.shape, keras.backend.standardize_dtype(value.dtype))


def type_in_use(layer, dtype):
    """The type in which a layer computes with a weight of its own."""
    floating = keras.backend.is_float_dtype(dtype)
    mixed = layer.compute_dtype != layer.variable_dtype
    return layer.compute_dtype if floating and mixed else dtype


class WeightTensor(keras.KerasTensor):
    """Stands for a weight while a call is noted.

    Args:
        layer: the layer that holds it.
        variable: `keras.Variable`.
        name: string, the attribute.
        refuse: function that is told why the call cannot be noted.
        change: function `(weight, value)` that is told of its new value.
    """

    def __init__(self, layer, variable, name, refuse, change):
        super().__init__(
            tuple(variable.shape), type_in_use(layer, variable.dtype), name=name
        )
        self.variable = variable
        self.policy = layer.dtype_policy
        self.trainable = variable.trainable
        self.path = variable.path
        self._refuse, self._change = refuse, change

    @property
    def value(self):
        return self

    def assign(self, value):
        self._change(self, value)

    def assign_add(self, value):
        self._change(self, ops.add(self, value))

    def assign_sub(self, value):
        self._change(self, ops.subtract(self, value))

    def numpy(self):
        self._refuse(f"it computes with the value of {self.path}")


@contextlib.contextmanager
def weights_replaced(layer, function):
    """Puts something else where a layer keeps the weights it owns.

    Args:
        layer: the layer.
        function: function `(layer, variable, name)` that returns it.
    """
    changed = []
    for name, value in [*vars(layer).items()]:
        tracking = name.startswith(internals.OF_TENSORFLOW)
        if not tracking and name not in internals.LISTS_OF_WEIGHTS:
            _replace(vars(layer), name, value, name, layer, function, changed)
    try:
        yield
    finally:
        for store, key, variable in changed:
            _set(store, key, variable)


def _replace(store, key, value, name, layer, function, changed):
    if isinstance(value, keras.Variable):
        _set(store, key, function(layer, value, name.lstrip("_")))
        changed.append((store, key, value))
    elif isinstance(value, (list, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for inner, item in [*items]:
            if not isinstance(item, (list, dict)):  # one level is enough
                path = f"{name}.{inner}"
                _replace(value, inner, item, path, layer, function, changed)


def _set(store, key, value):
    """Sets an entry without Keras noticing."""
    (list if isinstance(store, list) else dict).__setitem__(store, key, value)
