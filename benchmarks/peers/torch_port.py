"""The example networks in PyTorch, with the weights of a Keras model."""

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import vision_transformers
from benchmarks.peers import torch_tokens
from tf_lossprune.keras_internals import origin


class Port(nn.Module):
    """A functional Keras model of the layers that the example networks have.

    Args:
        model: `keras.Model` of images `(height, width, channels)` with one output.

    Attributes:
        parts: `ModuleDict` from the layers' names to what computes them; layers
            without weights or padding have none.

    Raises:
        ValueError: If there is a layer of another kind.
    """

    def __init__(self, model):
        super().__init__()
        self.parts = nn.ModuleDict()
        self._steps = []
        for layer in model.layers:
            if isinstance(layer, keras.layers.InputLayer):
                self._input = layer.name
                continue
            make = _MAKERS.get(type(layer))
            if make is None:
                raise ValueError(
                    f"Expected layers among {sorted(k.__name__ for k in _MAKERS)}. "
                    f"Received: {layer!r}"
                )
            found = make(layer)
            if isinstance(found, nn.Module):
                self.parts[layer.name] = found
            tensors = layer.input if isinstance(layer.input, list) else [layer.input]
            sources = [origin(tensor)[0].name for tensor in tensors]
            self._steps.append((layer.name, found, sources))
        self._output = origin(model.outputs[0])[0].name

    def forward(self, x):
        """Maps images `(n, channels, height, width)` to the model's output."""
        values = {self._input: x}
        for name, function, sources in self._steps:
            values[name] = function(*(values[source] for source in sources))
        return values[self._output]


def from_keras(model):
    """The PyTorch network with the weights of a Keras model of `examples`.

    Args:
        model: `keras.Model`.

    Returns:
        A `Port` in evaluation mode.
    """
    return Port(model).eval()


def _fill(tensor, value):
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def _convolution(layer):
    kernel, *bias = layer.get_weights()
    rows, columns, inputs, outputs = kernel.shape
    weight, groups = np.transpose(kernel, (3, 2, 0, 1)), 1
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        weight, groups = np.transpose(kernel, (2, 3, 0, 1)), inputs
        outputs = inputs * outputs
        weight = weight.reshape(outputs, 1, rows, columns)
    padding, stride, parts = 0, layer.strides, []
    if layer.padding == "same":
        sides = [
            _same(*sizes)
            for sizes in zip(layer.input.shape[1:3], kernel.shape, layer.strides)
        ]
        padding = tuple(before for before, _ in sides)
        if any(before != after for before, after in sides):
            (top, bottom), (left, right) = sides
            parts.append(nn.ZeroPad2d((left, right, top, bottom)))
            padding = 0
    if (rows, columns) == (1, 1) and stride != (1, 1):
        # The same; oneDNN's gradient of such a convolution with few channels writes
        # beyond its buffer.
        parts.append(nn.MaxPool2d(1, stride))
        stride = 1
    convolution = nn.Conv2d(
        inputs,
        outputs,
        (rows, columns),
        stride,
        padding,
        groups=groups,
        bias=bool(bias),
    )
    _fill(convolution.weight, weight)
    if bias:
        _fill(convolution.bias, bias[0])
    return nn.Sequential(*parts, convolution)


def _same(size, kernel, stride):
    """Zeros before and after an axis, as Keras' padding "same" has them."""
    needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return needed // 2, needed - needed // 2


def _norm(layer):
    gamma, beta, mean, variance = layer.get_weights()
    norm = nn.BatchNorm2d(len(mean), eps=layer.epsilon, momentum=1 - layer.momentum)
    _fill(norm.weight, gamma)
    _fill(norm.bias, beta)
    _fill(norm.running_mean, mean)
    _fill(norm.running_var, variance)
    return norm


def _dense(layer):
    kernel, bias = layer.get_weights()
    dense = nn.Linear(*kernel.shape)
    _fill(dense.weight, kernel.T)
    _fill(dense.bias, bias)
    return torch_tokens.Last(dense)


def _relu(layer):
    if layer.max_value is None:
        return functional.relu
    return lambda x: torch.clamp(x, 0.0, layer.max_value)


_MAKERS = {
    keras.layers.Conv2D: _convolution,
    keras.layers.DepthwiseConv2D: _convolution,
    keras.layers.BatchNormalization: _norm,
    keras.layers.Dense: _dense,
    keras.layers.ReLU: _relu,
    keras.layers.Add: lambda layer: torch.add,
    keras.layers.MaxPooling2D: lambda layer: nn.MaxPool2d(
        layer.pool_size, layer.strides
    ),
    keras.layers.GlobalAveragePooling2D: lambda layer: lambda x: x.mean((2, 3)),
    keras.layers.GlobalAveragePooling1D: lambda layer: lambda x: x.mean(1),
    keras.layers.Activation: torch_tokens.activation,
    keras.layers.LayerNormalization: torch_tokens.norm,
    keras.layers.MultiHeadAttention: torch_tokens.Attention,
    keras.layers.Reshape: torch_tokens.tokens,
    vision_transformers.Positions: torch_tokens.Positions,
}
