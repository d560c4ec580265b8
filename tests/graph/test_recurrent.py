"""Units of recurrent layers are pruned, in whatever they are wrapped."""

import unittest

import keras
from absl.testing import parameterized
from keras import layers

import tf_lossprune
from tests.graph.exact import check_opened


def outputs(x, tensors):
    flat = [layers.Flatten()(y) if len(y.shape) > 2 else y for y in tensors]
    return keras.Model(x, layers.Dense(3)(layers.Concatenate()(flat)))


def cells():
    """Cells alone and stacked, with states that others begin with."""
    x = keras.Input((5, 4))
    y = layers.Dense(6)(x)
    y = layers.RNN(layers.LSTMCell(8), return_sequences=True)(y)
    stack = [layers.LSTMCell(7), layers.GRUCell(6), layers.SimpleRNNCell(5)]
    found = layers.RNN(stack, return_state=True)(y)
    z, h, c = layers.RNN(layers.LSTMCell(4), return_state=True)(y)
    last = layers.RNN(layers.LSTMCell(4), name="last")(y, initial_state=[h, c])
    return outputs(x, [*keras.tree.flatten(found), z, last])


def bidirectional():
    """Both directions, merged, with states, around cells."""
    x = keras.Input((3, 4))
    y = layers.Dense(6)(x)
    found = []
    for mode in ("concat", "mul", None):
        inner = layers.LSTM(6, return_sequences=True)
        found.append(layers.Bidirectional(inner, merge_mode=mode)(y))
    z, a, b = layers.Bidirectional(layers.GRU(4, return_state=True))(y)
    last = layers.Bidirectional(layers.GRU(4))(y, initial_state=[a, b])
    stack = layers.RNN([layers.LSTMCell(5), layers.GRUCell(3)])
    return outputs(
        x, [*keras.tree.flatten(found), z, last, layers.Bidirectional(stack)(y)]
    )


def convolutional():
    x = keras.Input((3, 7, 7, 2))
    y = layers.ConvLSTM2D(6, 3, return_sequences=True)(x)
    z = layers.ConvLSTM2D(4, 3, strides=2, return_state=True)(y)
    inner = layers.ConvLSTM2D(3, 3, padding="same")
    return outputs(x, [*z, layers.Bidirectional(inner)(y)])


class RecurrentTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("cells", cells, 6),
        ("bidirectional", bidirectional, 7),
        ("convolutional", convolutional, 3),
    )
    def test_units_are_pruned(self, make, groups):
        _, pruned, compact = check_opened(make)
        reasons = [why for _, why in pruned.channel_graph.frozen]
        self.assertTrue(all("model output" in why for why in reasons), reasons)
        self.assertLen(pruned.groups, groups)
        kinds = {type(la).__module__.split(".")[0] for la in compact.layers}
        self.assertEqual(kinds, {"keras"})

    def test_a_cell_of_ones_own_is_named(self):
        class Cell(layers.Layer):
            state_size = 4

            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(4)

            def call(self, x, states):
                y = self.dense(x) + states[0]
                return y, [y]

        x = keras.Input((5, 4))
        y = layers.RNN(Cell())(layers.Dense(6, name="before")(x))
        found = tf_lossprune.inspect_model(keras.Model(x, layers.Dense(3)(y)))
        self.assertIn("its cell is of your own", dict(found.frozen)["before"])


if __name__ == "__main__":
    unittest.main()
