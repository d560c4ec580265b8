"""The judge counts what was counted by hand."""

import keras
from absl.testing import parameterized

from tests import judge

layers = keras.layers
CASES = {
    # 16 x 16 outputs of 3 x 3 x (8 / 4) entries, 16 of them.
    "grouped convolution": (
        (16, 16, 8),
        lambda x: layers.Conv2D(16, 3, groups=4, padding="same")(x),
        16 * 16 * 16 * 3 * 3 * 2,
    ),
    "depthwise convolution": (
        (10, 10, 4),
        lambda x: layers.DepthwiseConv2D(3)(x),
        8 * 8 * 4 * 9,
    ),
    "transposed convolution": (
        (4, 4, 8),
        lambda x: layers.Conv2DTranspose(6, 3, 2)(x),
        4 * 4 * 8 * 3 * 3 * 6,
    ),
    "3-D convolution": (
        (6, 8, 8, 4),
        lambda x: layers.Conv3D(5, 3)(x),
        4 * 6 * 6 * 5 * 27 * 4,
    ),
    "a layer on every position": (
        (7, 8),
        lambda x: layers.Dense(5)(x),
        7 * 8 * 5,
    ),
    # 12 steps of four blocks that read input and state.
    "a loop": ((12, 8), lambda x: layers.LSTM(6)(x), 12 * 4 * 6 * (8 + 6)),
    # Four projections, scores and weighted sums of two heads of 4.
    "attention": (
        (12, 8),
        lambda x: layers.MultiHeadAttention(2, 4)(x, x),
        4 * 12 * 8 * 8 + 2 * 12 * 12 * 8,
    ),
}


class JudgeTest(parameterized.TestCase):
    @parameterized.named_parameters((n.replace(" ", "_"), n) for n in CASES)
    def test_counts_as_by_hand(self, name):
        shape, build, expected = CASES[name]
        x = keras.Input(shape)
        self.assertEqual(judge.macs(keras.Model(x, build(x))), expected)
