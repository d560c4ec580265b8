"""Operations with a weight of an opened layer that a stock layer computes.

`ops.matmul(x, self.kernel)` is a dense layer, `ops.conv(x, self.kernel)` a convolution:
as such they have rules, gates and repair.
"""

import keras

from tf_lossprune.graph.own_weight import ConstantTensor, WeightTensor

layers = keras.layers

_CONVOLUTIONS = {
    "Conv": (layers.Conv1D, layers.Conv2D, layers.Conv3D),
    "ConvTranspose": (
        layers.Conv1DTranspose,
        layers.Conv2DTranspose,
        layers.Conv3DTranspose,
    ),
    "DepthwiseConv": (layers.DepthwiseConv1D, layers.DepthwiseConv2D),
}


def stock_product(step):
    """The layer that computes what a step does with a weight.

    Args:
        step: `Step`.

    Returns:
        A tuple: an unbuilt layer, which is to get the weight; the place of its input
        among the step's arguments; and the `WeightTensor`. None: there is none.
    """
    if step.kwargs or len(step.args) != 2:
        return None
    places = [i for i, x in enumerate(step.args) if isinstance(x, WeightTensor)]
    if len(places) != 1:
        return None
    weight, place = step.args[places[0]], 1 - places[0]
    x, name = step.args[place], type(step.operation).__name__
    if not isinstance(x, keras.KerasTensor) or isinstance(x, ConstantTensor):
        return None
    if name == "Take":
        layer = _table(step.operation, x, weight) if place == 1 else None
    elif place == 1:
        layer = None
    elif name in _CONVOLUTIONS:
        layer = _convolution(step.operation, name, x, weight)
    elif _is_dense(step.operation, x, weight):
        layer = layers.Dense(weight.shape[1], use_bias=False, dtype=weight.policy)
    else:
        layer = None
    return layer and (layer, place, weight)


def _is_dense(operation, x, weight):
    """Whether it adds up over the last axis of `x` and the first of a matrix."""
    if len(weight.shape) != 2 or len(x.shape) < 2:
        return False
    kind = type(operation).__name__
    if kind == "Tensordot":
        return operation.axes in (1, [[len(x.shape) - 1], [0]], [[-1], [0]], (-1, 0))
    if kind == "Einsum":
        given, _, result = operation.subscripts.replace(" ", "").partition("->")
        first, _, second = given.partition(",")
        alone = len(set(first + second)) == len(first) + 1
        return alone and first[-1:] == second[:1] and result == first[:-1] + second[1:]
    return kind in ("Matmul", "Dot")


def _convolution(operation, name, x, weight):
    rank = len(x.shape) - 2
    if not 0 < rank <= len(_CONVOLUTIONS[name]):
        return None
    settings = {
        "kernel_size": tuple(weight.shape[:rank]),
        "strides": operation.strides,
        "padding": operation.padding,
        "data_format": operation.data_format,
        "dilation_rate": operation.dilation_rate,
        "use_bias": False,
        "dtype": weight.policy,
    }
    if name == "Conv":
        axis = 1 if operation.data_format == "channels_first" else -1
        settings["groups"] = x.shape[axis] // weight.shape[rank]
        settings["filters"] = weight.shape[rank + 1]
    elif name == "ConvTranspose":
        settings["output_padding"] = operation.output_padding
        settings["filters"] = weight.shape[rank]
    else:
        settings["depth_multiplier"] = weight.shape[rank + 1]
    return _CONVOLUTIONS[name][rank - 1](**settings)


def _table(operation, x, weight):
    """An embedding, for rows that are taken by their numbers."""
    rows = operation.axis == 0 and len(weight.shape) == 2
    if not rows or "int" not in x.dtype:
        return None
    return layers.Embedding(*weight.shape, dtype=weight.policy)
