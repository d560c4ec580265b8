"""The wrapper that gates a consumer through its kernel."""

import keras
import numpy as np
from keras import ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.record import find_weight


@keras.saving.register_keras_serializable(package="tf_lossprune")
class GatedLayer(keras.layers.Wrapper):
    """A convolution, dense layer or the like whose kernel slices are gated.

    Multiplying input channel c by a gate equals multiplying the kernel's c-th
    input slice by it, `conv(x * m, W) = conv(x, W * m)`, so the gates touch a
    few thousand weights and no activation. One wrapper serves every layer class:
    it runs the wrapped layer with the gated weight in the weight's place.

    Args:
        layer: the built layer to wrap.
        gates: dict, weight name -> {axis: units}: which axes of the weight belong to
            channels, and the unit index of each of their entries. Unit 0 is never
            gated.

    Example:

    ```python
    gated = GatedLayer(conv, {"kernel": {2: [1, 2, 3]}})
    y = gated(x, mask=keras.ops.array([1.0, 1.0, 0.0, 1.0]))  # drops channel 1
    ```
    """

    def __init__(self, layer, gates, **kwargs):
        kwargs.setdefault("name", f"gated_{layer.name}")
        # The wrapped layer casts for itself; gates and weights stay in float32.
        kwargs["autocast"] = False
        super().__init__(layer, **kwargs)
        self.supports_masking = True  # as far as the wrapped layer does
        self.gates = {
            name: {int(axis): tuple(map(int, units)) for axis, units in axes.items()}
            for name, axes in gates.items()
        }

    def build(self, *shapes, **named_shapes):
        self.built = True  # the wrapped layer is

    def call(self, inputs, gates, *others, mask=None, tensors=None, **kwargs):
        """Runs the layer with gated weights.

        Args:
            inputs: tensor, the layer's first argument.
            gates: float `[num_units + 1]`.
            *others: its other positional arguments.
            mask: tensor or None, its `mask`; None: the one that `inputs` carry.
            tensors: dict of its other keyword arguments that are tensors.
            **kwargs: its keyword arguments that are none.
        """
        kwargs = unpacked(kwargs, mask, tensors)
        # All of them: a scope inside another one does not see the latter's values.
        values = [(variable, variable.value) for variable in self.layer.variables]
        for name, axes in self.gates.items():
            variable = find_weight(self.layer, name)
            value = variable.value
            for axis, units in axes.items():
                gate = ops.take(gates, np.array(units, "int32"))
                shape = [1] * len(variable.shape)
                shape[axis] = -1
                value = value * ops.cast(ops.reshape(gate, shape), variable.dtype)
            values.append((variable, value))
        with keras.StatelessScope(values, collect_losses=True) as scope:
            outputs = self.layer(inputs, *others, **kwargs)
        for variable in self.layer.non_trainable_variables:
            updated = scope.get_current_value(variable)  # such as a random state
            if updated is not None:
                variable.assign(updated)
        if scope.losses:  # an activity regularizer of the wrapped layer
            internals.clear_losses(self.layer)  # they count as this layer's
            self.add_loss(scope.losses)
        return outputs

    def compute_mask(self, inputs, previous_mask):
        return None  # `call` returns tensors with the wrapped layer's masks

    def compute_output_spec(
        self, inputs, gates, *others, mask=None, tensors=None, **kwargs
    ):
        kwargs = unpacked(kwargs, mask, tensors)
        return self.layer.compute_output_spec(inputs, *others, **kwargs)

    def get_config(self):
        config = super().get_config()
        config.pop("autocast", None)
        gates = {
            name: {str(axis): list(units) for axis, units in axes.items()}
            for name, axes in self.gates.items()
        }
        return {**config, "gates": gates}


def unpacked(kwargs, mask, tensors):
    masks = {} if mask is None else {"mask": mask}
    return {**kwargs, **(tensors or {}), **masks}
