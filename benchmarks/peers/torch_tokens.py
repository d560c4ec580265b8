"""What transformers have besides: layers of tokens, in PyTorch, with Keras' weights.

Images are `(n, channels, height, width)` and tokens `(n, tokens, channels)`.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def fill(tensor, value):
    """Copies an array into a tensor."""
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(value.copy()).reshape(tensor.shape))


class Positions(nn.Module):
    """Adds a learned vector to each token."""

    def __init__(self, layer):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, *layer.table.shape))
        fill(self.table, layer.get_weights()[0])

    def forward(self, x):
        return x + self.table


class Attention(nn.Module):
    """Self-attention with one matrix for queries, keys and values.

    The number of heads and the scale stay, the dimensions of a head may shrink.
    """

    def __init__(self, layer):
        super().__init__()
        *read, out, out_bias = layer.get_weights()
        width, self.heads, size = read[0].shape
        self.scale = size**-0.5
        self.qkv = nn.Linear(width, 3 * self.heads * size)
        self.out = nn.Linear(self.heads * size, width)
        kernels = [kernel.reshape(width, -1).T for kernel in read[::2]]
        fill(self.qkv.weight, np.concatenate(kernels))
        fill(self.qkv.bias, np.concatenate([bias.reshape(-1) for bias in read[1::2]]))
        fill(self.out.weight, out.reshape(-1, width).T)
        fill(self.out.bias, out_bias)

    def forward(self, x, *_):
        n, tokens, _ = x.shape
        split = self.qkv(x).reshape(n, tokens, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        x = scores.softmax(-1) @ v
        return self.out(x.transpose(1, 2).reshape(n, tokens, -1))

    def product_macs(self, x):
        """MACs of scores and of the weighted sum, for the tokens `x`."""
        tokens = x.shape[1]
        return 2 * tokens * tokens * self.qkv.out_features // 3


class Last(nn.Module):
    """A layer of the last axis, for images too."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        if x.ndim < 4:
            return self.inner(x)
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm(layer):
    """`LayerNormalization` over the last axis."""
    gamma, beta = layer.get_weights()
    made = nn.LayerNorm(len(gamma), eps=layer.epsilon)
    fill(made.weight, gamma)
    fill(made.bias, beta)
    return Last(made)


def activation(layer):
    """The activations that the benchmarks have."""
    if layer.activation.__name__ != "gelu":
        raise ValueError(f"Expected gelu. Received: {layer.activation}")
    return lambda x: functional.gelu(x, approximate="none")


def tokens(layer):
    """`Reshape` of an image to tokens."""
    return lambda x: x.flatten(2).transpose(1, 2)
