"""The example's ResNet in PyTorch, with the weights of a Keras model."""

import numpy as np
import torch
from torch import nn


def _conv_bn(inputs, outputs, size, stride=1):
    """A convolution with Keras' "same" padding, and a batch normalisation."""
    parts = []
    if size == 3 and stride == 2:
        # Keras pads even images at the far side only.
        parts.append(nn.ZeroPad2d((0, 1, 0, 1)))
    if size == 1 and stride == 2:
        # The same; oneDNN's gradient of such a convolution with few channels writes
        # beyond its buffer.
        parts.append(nn.MaxPool2d(1, stride))
        stride = 1
    padding = 1 if size == 3 and stride == 1 else 0
    parts.append(nn.Conv2d(inputs, outputs, size, stride, padding, bias=False))
    parts.append(nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01))
    return nn.Sequential(*parts)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (a 1x1 convolution where it must be)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.a = _conv_bn(inputs, outputs, 3, stride)
        self.b = _conv_bn(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.sc = None if same else _conv_bn(inputs, outputs, 1, stride)

    def forward(self, x):
        """Applies the block."""
        shortcut = x if self.sc is None else self.sc(x)
        return torch.relu(self.b(torch.relu(self.a(x))) + shortcut)


class ResNet(nn.Module):
    """Residual network for small images, as `examples.resnets.resnet`.

    Args:
        width: Channels of the first stage; every stage doubles them.
        blocks: Residual blocks in each of the three stages.
        channels: Channels of the images.
        classes: Number of logits.
    """

    def __init__(self, width=16, blocks=3, channels=1, classes=10):
        super().__init__()
        self.stem = _conv_bn(channels, width, 3)
        found, inputs = {}, width
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                outputs = width * 2**stage
                found[f"s{stage}b{block}"] = Block(inputs, outputs, stride)
                inputs = outputs
        self.blocks = nn.ModuleDict(found)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x):
        """Maps images `(n, channels, height, width)` to logits."""
        x = torch.relu(self.stem(x))
        for block in self.blocks.values():
            x = block(x)
        return self.head(x.mean((2, 3)))


def from_keras(model):
    """The PyTorch network with the weights of a Keras ResNet of `examples`.

    Args:
        model: `keras.Model`; the layers' names tell what they are.

    Returns:
        A `ResNet` in evaluation mode.
    """
    layers = {layer.name: layer.get_weights() for layer in model.layers}
    blocks = sum(name.startswith("s0") and name.endswith("_add") for name in layers)
    stem = layers["stem_conv"][0]
    network = ResNet(stem.shape[3], blocks, stem.shape[2], len(layers["head"][1]))
    _load(network.stem, layers, "stem")
    for name, block in network.blocks.items():
        for part in ("a", "b", "sc"):
            if getattr(block, part) is not None:
                _load(getattr(block, part), layers, f"{name}_{part}")
    kernel, bias = layers["head"]
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(kernel.T.copy()))
        network.head.bias.copy_(torch.from_numpy(bias))
    return network.eval()


def _load(part, layers, name):
    (kernel,) = layers[f"{name}_conv"]
    gamma, beta, mean, variance = layers[f"{name}_bn"]
    convolution, norm = part[-2], part[-1]
    pairs = [
        (convolution.weight, np.transpose(kernel, (3, 2, 0, 1))),
        (norm.weight, gamma),
        (norm.bias, beta),
        (norm.running_mean, mean),
        (norm.running_var, variance),
    ]
    with torch.no_grad():
        for tensor, value in pairs:
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(value)))
