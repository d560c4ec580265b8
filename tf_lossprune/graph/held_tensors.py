"""What opened layers hold, as calls of a flat graph: weights, numbers, masks."""

from typing import Any

import keras

from tf_lossprune import keras_internals as internals
from tf_lossprune.graph.carried_masks import MaskOf
from tf_lossprune.graph.own_weight import (
    ConstantTensor,
    OwnConstant,
    OwnWeight,
    WeightTensor,
)
from tf_lossprune.graph.stock_products import stock_product
from tf_lossprune.graph.tracing import Call, Tensor, Walk, tensor_like


class WalkWithWeights(Walk):
    """Follows a graph in which symbolic tensors stand for what layers hold."""

    def __init__(self):
        super().__init__()
        self._root: Any = None  # what weights are called with
        self._names = {}
        self._weights = {}
        self._kernels = {}
        self._masked = {}  # id of a mask -> the `Tensor` that it comes with
        self._in_front = {}  # tensors with one more axis than the code knows

    def _tensor(self, symbolic, tensors, place, ndim=None):
        """The `Tensor` that a symbolic tensor stands for, or numbers; None for None."""
        if symbolic is None:
            return None
        if not isinstance(symbolic, keras.KerasTensor):
            return self._constant(ConstantTensor(symbolic), place, ())
        if isinstance(symbolic, ConstantTensor):
            front = (1,) if len(symbolic.shape) == 1 else ()
            return self._constant(symbolic, place, front)
        if not isinstance(symbolic, WeightTensor):
            if id(symbolic) in self._masked:
                return self._mask_of(symbolic, place)
            return self._with_axes(tensors[id(symbolic)], ndim)
        layer = self._own_weight(symbolic, place)
        kwargs = {} if ndim is None else {"ndim": ndim}
        spec = layer.compute_output_spec(None, **kwargs)
        made = tensor_like(spec)
        root = [self._root, *self._changes_of(layer)][-1]
        self.calls.append(Call(layer, (root,), kwargs, [made]))
        return made

    def _own_weight(self, symbolic, place):
        """The layer that holds a weight."""
        variable = symbolic.variable
        if id(variable) not in self._weights:
            layer = OwnWeight(
                variable.shape,
                variable.dtype,
                variable.trainable,
                variable,
                dtype=symbolic.policy,
            )
            self._names[id(layer)] = f"{place.path}{symbolic.name}"
            self._weights[id(variable)] = layer
        return self._weights[id(variable)]

    def _changes_of(self, layer):
        """What came out of the calls that have changed a weight, in order."""
        calls = [c for c in self.calls if c.operation is layer and "value" in c.kwargs]
        return [call.outputs[0] for call in calls]

    def _change(self, step, tensors, place):
        """Appends the change of a weight, behind all that have read it before."""
        layer = self._own_weight(step.operation.weight, place)
        x, value = (self._tensor(t, tensors, place) for t in step.args)
        made = [tensor_like(t) for t in step.outputs]
        kwargs = {
            "value": value,
            "after": [c.outputs[0] for c in self.calls if c.operation is layer],
            "only_in_training": step.operation.only_in_training,
        }
        self.calls.append(Call(layer, (x,), kwargs, made))
        return made

    def _mask_of(self, symbolic, place):
        """The mask that comes with a tensor."""
        layer = MaskOf(symbolic.shape)
        self._names[id(layer)] = f"{place.path}mask"
        made = tensor_like(symbolic)
        self.calls.append(Call(layer, (self._masked[id(symbolic)],), {}, [made]))
        return made

    def _constant(self, symbolic, place, front):
        """The `Tensor` of numbers, with more axes in front."""
        value = symbolic.value.reshape((*front, *symbolic.shape))
        layer = OwnConstant(value, symbolic.dtype)
        self._names[id(layer)] = f"{place.path}constant"
        made = tensor_like(layer.compute_output_spec(None))
        self.calls.append(Call(layer, (self._root,), {}, [made]))
        return made

    def _with_axes(self, tensor, ndim):
        """A tensor without the axis in front of it, if that is in the way."""
        if id(tensor) not in self._in_front or len(tensor.shape) <= (ndim or 0):
            return tensor
        squeeze = internals.operation_class("Squeeze")(axis=0)
        made = Tensor(tensor.shape[1:], tensor.dtype, tensor.name)
        self.calls.append(Call(squeeze, (tensor,), {}, [made]))
        return made

    def _product(self, step, tensors, place):
        """A product with a weight, as the stock layer that computes it; or None."""
        found = stock_product(step)
        if found is None:
            return None
        layer, where, weight = found
        key = id(weight.variable), repr({**layer.get_config(), "name": None})
        if key not in self._kernels:
            self._kernels[key] = internals.with_kernel(layer, weight.variable)
            self._names[id(layer)] = f"{place.path}{weight.name}"
        made = [tensor_like(t) for t in step.outputs]
        x = self._tensor(step.args[where], tensors, place)
        self.calls.append(Call(self._kernels[key], (x,), {}, made))
        return made
