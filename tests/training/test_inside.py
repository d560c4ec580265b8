"""What weights read inside their layers is repaired, too."""

import keras
import numpy as np
from absl.testing import parameterized

from tf_lossprune.graph import analyze
from tf_lossprune.surgery import cut
from tf_lossprune.training import repair

layers = keras.layers


def separable():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="first")(inputs)
    x = layers.SeparableConv2D(4, 3, 2, depth_multiplier=2, name="reader")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def separable_1d():
    inputs = keras.Input((9, 3))
    x = layers.Conv1D(6, 3, name="first")(inputs)
    x = layers.SeparableConv1D(4, 3, padding="same", use_bias=False, name="reader")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def recurrent(cell, **options):
    def make():
        inputs = keras.Input((7, 3))
        x = layers.Masking()(inputs)
        return keras.Model(inputs, layers.Dense(2)(cell(6, name="first", **options)(x)))

    return make


def attention():
    inputs = keras.Input((7, 4))
    x = layers.Masking()(inputs)
    heads = layers.MultiHeadAttention(4, 3, name="first")
    x = layers.Dense(3)(heads(x, x, use_causal_mask=True))
    return keras.Model(inputs, layers.Dense(2)(x))


def copy_units(weight, axis, size, dropped):
    """Makes the last units of an axis, in each of its blocks, those of its start."""
    values = np.moveaxis(keras.ops.convert_to_numpy(weight.value).copy(), axis, 0)
    for unit in dropped:
        values[unit::size] = values[unit - dropped[0] :: size]
    weight.assign(np.moveaxis(values, 0, axis))


def with_copies(make):
    """A network whose last two units do what the first two do, and these units."""
    keras.utils.set_random_seed(0)
    model, rng = make(), np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(0.5 * rng.normal(size=weight.shape))
    first = model.get_layer("first")
    size = 4 if make is attention else 6
    dropped = [size - 2, size - 1]
    if make is attention:
        for name in ("_query_dense", "_key_dense", "_value_dense"):
            copy_units(getattr(first, name).kernel, 1, size, dropped)
            copy_units(getattr(first, name).bias, 0, size, dropped)
    elif hasattr(first, "cell"):
        for weight in first.cell.weights:
            copy_units(weight, -1, size, dropped)
    else:
        for weight in first.weights:
            copy_units(weight, -1, size, dropped)
        copy_units(model.get_layer("reader").depthwise_kernel, -2, size, dropped)
    return model, dropped


class InsideTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("separable", separable, "reader.pointwise_kernel"),
        ("separable_1d", separable_1d, "reader.pointwise_kernel"),
        ("lstm", recurrent(layers.LSTM), "first.cell.recurrent_kernel"),
        ("gru", recurrent(layers.GRU), "first.cell.recurrent_kernel"),
        (
            "simple",
            recurrent(layers.SimpleRNN, go_backwards=True, use_bias=False),
            "first.cell.recurrent_kernel",
        ),
        ("attention", attention, "first._output_dense.kernel"),
    )
    def test_copies_are_removed_without_any_change_of_the_output(self, make, name):
        model, dropped = with_copies(make)
        x = np.random.default_rng(1).normal(size=(96, *model.input_shape[1:]))
        x = x.astype("float32")
        x[::3, -2:] = 0.0  # masked, where there is a mask
        channel_graph = analyze(model)
        group = next(g for g in channel_graph.groups if g.name == "first")
        keep = np.ones(channel_graph.num_units + 1, bool)
        keep[group.units[dropped]] = False
        compact = cut(channel_graph, keep)
        wanted = model.predict(x, verbose=0)
        before = np.abs(compact.predict(x, verbose=0) - wanted).max()
        done = repair(channel_graph, keep, compact, [x[:48], x[48:]])
        after = np.abs(compact.predict(x, verbose=0) - wanted).max()
        self.assertIn(name, done.unexplained)
        self.assertEmpty(done.left)
        self.assertGreater(before, 0.01 * np.abs(wanted).max())
        self.assertLess(after, 1e-4 * np.abs(wanted).max())

    def test_a_state_that_is_reset_before_it_is_read_is_left_and_listed(self):
        model, dropped = with_copies(recurrent(layers.GRU, reset_after=False))
        channel_graph = analyze(model)
        keep = np.ones(channel_graph.num_units + 1, bool)
        keep[channel_graph.groups[0].units[dropped]] = False
        x = np.random.default_rng(1).normal(size=(32, 7, 3)).astype("float32")
        done = repair(channel_graph, keep, cut(channel_graph, keep), [x])
        self.assertEqual([*done.left], ["first.cell.recurrent_kernel"])
        self.assertIn("reset", done.left["first.cell.recurrent_kernel"])
