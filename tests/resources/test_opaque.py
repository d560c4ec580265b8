"""Costs count everything that runs, whatever layer it is in.

MACs are judged by the operations of the LiteRT file, parameters by `count_params()`.
"""

import tempfile
import unittest
import warnings

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from examples import models
from tests import judge
from tf_lossprune.errors import UncountableError
from tf_lossprune.resources import PeakMemory

layers = keras.layers


#: Why the block below is not opened.
REASON = "opaque: own (no rule for OwnBlock, and "


@keras.saving.register_keras_serializable(package="test_opaque")
class OwnBlock(layers.Layer):
    """A residual block of the user's own."""

    def __init__(self, width=12, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.first = layers.Conv2D(width, 3, padding="same", activation="relu")
        self.second = layers.Conv2D(width, 3, padding="same")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], self.width))

    def call(self, x, training=None):
        # The function handed to an operation keeps the layer from being opened.
        return x + ops.vectorized_map(lambda v: 1.0 * v, self.second(self.first(x)))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="test_opaque")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3)
        self.dense = layers.Dense(4)

    def call(self, x):
        return self.dense(ops.mean(self.conv(x), (1, 2)))


@keras.saving.register_keras_serializable(package="test_opaque")
class TiedHead(layers.Layer):
    """Reads a table that another layer has too."""

    def __init__(self, table=None, **kwargs):
        super().__init__(**kwargs)
        self.table = table

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.table.embeddings))


@keras.saving.register_keras_serializable(package="test_opaque")
class Shift(layers.Layer):
    """No rule, and next to nothing to compute."""

    def call(self, x):
        return ops.roll(x, 1, axis=1)


def image_model(middle, size=12):
    x = keras.Input((size, size, 3))
    y = layers.Conv2D(24, 3, padding="same", activation="relu")(x)
    y = middle(layers.Conv2D(12, 3, padding="same")(y))
    y = layers.Conv2D(32, 3, padding="same")(y) if len(y.shape) == 4 else y
    y = layers.GlobalAveragePooling2D()(y) if len(y.shape) == 4 else y
    return keras.Model(x, layers.Dense(3)(y))


def sequence_model(middle):
    x = keras.Input((10, 6))
    y = middle(layers.Dense(8)(layers.Dense(64, activation="relu")(x)))
    y = y[0] if isinstance(y, (tuple, list)) else y
    y = ops.mean(y, axis=1) if len(y.shape) == 3 else y
    return keras.Model(x, layers.Dense(3)(layers.Dense(16, activation="relu")(y)))


def time_distributed():
    x = keras.Input((4, 10, 10, 3))
    y = layers.TimeDistributed(layers.Conv2D(4, 3))(x)
    y = layers.TimeDistributed(layers.GlobalAveragePooling2D())(y)
    return keras.Model(x, layers.Dense(2)(layers.LSTM(32)(y)))


def masked_words():
    x = keras.Input((10,), dtype="int32")
    y = layers.Embedding(20, 8, mask_zero=True)(x)
    y = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(y)
    y = layers.Dense(12)(layers.Dense(32, activation="relu")(y))
    y = layers.MultiHeadAttention(2, 4)(y, y)
    return keras.Model(x, layers.Dense(2)(ops.mean(y, axis=1)))


def tied_by_hand():
    x = keras.Input((10,), dtype="int32")
    table = layers.Embedding(50, 16)
    y = layers.Dense(16)(layers.Dense(48, activation="relu")(table(x)))
    return keras.Model(x, ops.matmul(y, ops.transpose(table.embeddings)))


def windows(x):
    """Attention inside windows, which are folded into the batch."""
    y = ops.reshape(x, (-1, 16, 12))
    y = layers.Dense(12)(layers.Dense(24, activation="relu")(y))
    y = layers.MultiHeadAttention(2, 6)(y, y)
    return ops.reshape(y, (-1, 12, 12, 12))


def batch_moved(y):
    """Time first, as older recurrent code has it."""
    y = ops.transpose(y, (1, 0, 2))
    return ops.mean(layers.Dense(8)(layers.Dense(20)(y)), axis=0)


CASES = {
    "time_distributed_convolution": time_distributed,
    "own_residual_block": lambda: image_model(OwnBlock()),
    "spectral_normalization": lambda: image_model(
        layers.SpectralNormalization(layers.Conv2D(10, 3))
    ),
    "cells_in_an_rnn": lambda: sequence_model(
        layers.RNN([layers.LSTMCell(8), layers.GRUCell(6)])
    ),
    "bidirectional_around_cells": lambda: sequence_model(
        layers.Bidirectional(layers.RNN(layers.LSTMCell(5), return_sequences=True))
    ),
    "masked_bidirectional_and_attention": masked_words,
    "attention_with_scores": lambda: sequence_model(
        lambda y: layers.MultiHeadAttention(2, 4)(y, y, return_attention_scores=True)
    ),
    "matmul_of_tensors": lambda: sequence_model(
        lambda y: ops.matmul(ops.softmax(ops.matmul(y, ops.transpose(y, (0, 2, 1)))), y)
    ),
    "einsum_of_tensors": lambda: sequence_model(
        lambda y: ops.einsum("bic,bjc->bij", y, y)
    ),
    "tensordot_with_a_constant": lambda: sequence_model(
        lambda y: ops.tensordot(y, np.ones((8, 5), "float32"), 1)
    ),
    "dot_product": lambda: sequence_model(lambda y: layers.Dot(2)([y, y])),
    "plain_attention": lambda: sequence_model(lambda y: layers.Attention()([y, y])),
    "table_tied_by_hand": tied_by_hand,
    "windows_in_the_batch": lambda: image_model(windows),
    "batch_moved": lambda: sequence_model(batch_moved),
}

#: MACs in the LiteRT files of these models.
MACS = {
    "time_distributed_convolution": 46_144,
    "own_residual_block": 1_337_568,
    "spectral_normalization": 862_656,
    "cells_in_an_rnn": 16_744,
    "bidirectional_around_cells": 14_368,
    "masked_bidirectional_and_attention": 19_864,
    "attention_with_scores": 13_296,
    "matmul_of_tensors": 10_736,
    "einsum_of_tensors": 9_968,
    "tensordot_with_a_constant": 9_488,
    "dot_product": 9_968,
    "plain_attention": 10_736,
    "table_tied_by_hand": 23_360,
    "windows_in_the_batch": 1_185_504,
    "batch_moved": 12_336,
}


def uniform(model, share=0.5):
    """The budget that was asked for, or what can be reached; and the compact model."""
    models.randomize(model, 0)
    least = tf_lossprune.inspect_model(model, channel_multiple=1).smallest["macs"]
    budget = {"macs": min(1.0, max(share, least + 0.02))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = tf_lossprune.prune_model(
            model, budget, method="uniform", channel_multiple=1
        )
        return budget["macs"], pruned, tf_lossprune.strip_pruning(pruned)


@unittest.skipIf(keras.backend.backend() != "tensorflow", "LiteRT is the judge")
class ToldIsTrueTest(parameterized.TestCase):
    @parameterized.named_parameters(*[(name, name) for name in CASES])
    def test_half_is_half(self, name):
        model = CASES[name]()
        share, pruned, compact = uniform(model)
        dense, delivered = judge.macs(model), judge.macs(compact)
        self.assertEqual(dense, MACS[name])
        for counted, found in (
            (model, tf_lossprune.cost(model)),
            (compact, tf_lossprune.cost(compact)),
            (compact, pruned.cost()),
        ):
            truth = dense if counted is model else delivered
            self.assertLessEqual(abs(found["macs"] - truth), 0.01 * truth)
            self.assertEqual(found["params"], counted.count_params())
        self.assertLessEqual(delivered, 1.01 * share * dense)
        self.assertLess(delivered, dense)

    def test_operations_of_tensorflow_count(self):
        import tensorflow as tf

        @keras.saving.register_keras_serializable(package="test_opaque")
        def raw(x):
            y = tf.nn.conv2d(x, tf.ones((3, 3, 12, 4)), 1, "SAME")
            y = tf.while_loop(
                lambda i, z: i < 3,
                lambda i, z: (i + 1, tf.matmul(z, tf.ones((4, 4)))),
                (0, y),
            )[1]
            return tf.cond(
                tf.reduce_sum(y) > 0, lambda: tf.matmul(y, tf.ones((4, 4))), lambda: y
            )

        model = image_model(layers.Lambda(raw))
        self.assertEqual(tf_lossprune.cost(model)["macs"], judge.macs(model))

    def test_functions_traced_before_and_saved_models_count(self):
        import tensorflow as tf

        class Compiled(layers.Layer):
            def build(self, shape):
                self.kernel = self.add_weight(shape=(3, 3, shape[-1], 4))

            @tf.function(jit_compile=True)
            def compute(self, x):
                return tf.nn.conv2d(x, self.kernel, 1, "SAME")

            def call(self, x):
                return self.compute(x)

        saved = keras.Sequential(
            [keras.Input((12, 12, 12)), layers.Conv2D(4, 3), layers.ReLU()]
        )
        with tempfile.TemporaryDirectory() as folder:
            saved.export(folder, verbose=False)
            loaded = layers.TFSMLayer(folder, call_endpoint="serve")
            for layer in (Compiled(), loaded):
                model = image_model(layer)
                self.assertEqual(tf_lossprune.cost(model)["macs"], judge.macs(model))

    def test_unrolled_cells_and_loops_count(self):
        for unroll in (False, True):
            model = sequence_model(layers.RNN(layers.LSTMCell(8), unroll=unroll))
            self.assertEqual(tf_lossprune.cost(model)["macs"], judge.macs(model))


class CountedTest(parameterized.TestCase):
    @parameterized.parameters(*MACS.items())
    def test_all_backends_tell_the_same(self, name, macs):
        self.assertEqual(tf_lossprune.cost(CASES[name]())["macs"], macs)

    def test_quantized_and_adapted_layers_count(self):
        """As they do without; and the product that makes the adapted kernel."""
        for change, more in (
            (lambda la: la.quantize("int8"), 0),
            (lambda la: la.enable_lora(2), 12 * 2 * 8),
        ):
            dense = layers.Dense(8)
            model = image_model(lambda y, d=dense: d(y))
            before = tf_lossprune.cost(model)["macs"]
            change(dense)
            self.assertEqual(tf_lossprune.cost(model)["macs"], before + more)

    def test_an_activation_of_ones_own_counts(self):
        mixing = np.ones((16, 16), "float32")
        plain = image_model(layers.Dense(16))
        mixed = image_model(
            layers.Dense(16, activation=lambda y: ops.matmul(y, mixing))
        )
        more = tf_lossprune.cost(mixed)["macs"] - tf_lossprune.cost(plain)["macs"]
        self.assertEqual(more, 12 * 12 * 16 * 16)

    def test_what_nobody_reads_costs_nothing(self):
        x = keras.Input((12, 12, 3))
        low = layers.Conv2D(8, 3)(x)
        high = layers.Conv2D(64, 3)(low)
        backbone = keras.Model(x, {"low": low, "high": high})
        image = keras.Input((12, 12, 3))
        y = layers.GlobalAveragePooling2D()(backbone(image)["low"])
        model = keras.Model(image, layers.Dense(2)(y))
        found = tf_lossprune.cost(model)
        self.assertEqual(found["macs"], 10 * 10 * 27 * 8 + 8 * 2)
        self.assertEqual(found["params"], 28 * 8 + 9 * 2)

    def test_a_weight_in_two_layers_is_counted_once_and_stays(self):
        x = keras.Input((10,), dtype="int32")
        table = layers.Embedding(50, 16)
        y = layers.Dense(16)(layers.Dense(24)(table(x)))
        model = keras.Model(x, TiedHead(table)(y))
        found = tf_lossprune.inspect_model(model)
        self.assertEqual(found.cost["params"], model.count_params())
        self.assertIn("embedding", [name.split("_")[0] for name, _ in found.frozen])

    def test_memory_inside_a_layer_counts(self):
        @keras.saving.register_keras_serializable(package="test_opaque")
        def wide(x):
            y = ops.concatenate([x] * 20, axis=-1)
            return ops.mean(ops.sin(y), axis=-1, keepdims=True)

        model = image_model(layers.Lambda(wide))
        found = tf_lossprune.inspect_model(model, resources=["peak_memory_bytes"])
        self.assertGreater(found.cost["peak_memory_bytes"], 4 * 12 * 12 * 12 * 40)


class ReportTest(parameterized.TestCase):
    def test_inspection_lists_opaque_layers_with_their_shares(self):
        model = image_model(OwnBlock(name="own"))
        names = ("macs", "params", "peak_memory_bytes")
        found = tf_lossprune.inspect_model(model, resources=names)
        self.assertEqual([entry.layer for entry in found.opaque], ["own"])
        self.assertCountEqual(found.opaque[0].share, names)
        own = 2 * 12 * 12 * 9 * 12 * 12
        self.assertAlmostEqual(found.opaque[0].share["macs"], own / found.cost["macs"])
        self.assertGreater(found.smallest["macs"], own / found.cost["macs"])
        self.assertIn(REASON, str(found))

    def test_pruning_warns_once_of_what_cannot_be_pruned(self):
        model = image_model(OwnBlock(name="own"))
        with self.assertWarnsRegex(UserWarning, "of macs cannot be pruned.*'own'"):
            tf_lossprune.prune_model(model, {"macs": 0.9}, method="uniform")

    def test_a_small_opaque_layer_is_no_warning(self):
        model = image_model(Shift())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tf_lossprune.prune_model(model, {"macs": 0.9}, method="uniform")
        self.assertNotIn("cannot be pruned", " ".join(str(w.message) for w in caught))

    def test_a_subclassed_model_inside_is_opened(self):
        x = keras.Input((12, 12, 3))
        model = keras.Model(x, Subclassed()(x))
        found = tf_lossprune.inspect_model(model)
        self.assertEqual(found.cost["macs"], 10 * 10 * 27 * 8 + 8 * 4)
        self.assertEmpty(found.opaque)
        self.assertLess(found.smallest["macs"], 0.2)

    def test_inspection_knows_remove_blocks(self):
        x = keras.Input((8, 8, 3))
        y = layers.Conv2D(8, 3, padding="same")(x)
        z = layers.Conv2D(16, 3, padding="same", activation="relu")(y)
        y = layers.Add()([y, layers.Conv2D(8, 3, padding="same")(z)])
        model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y)))
        kept, removed = (
            tf_lossprune.inspect_model(model, remove_blocks=b).smallest["macs"]
            for b in (False, True)
        )
        self.assertLess(removed, kept)


class UncountableTest(parameterized.TestCase):
    def loop(self):
        @keras.saving.register_keras_serializable(package="test_opaque")
        def until(x):
            return ops.while_loop(
                lambda z: ops.sum(z) < 0.0,
                lambda z: (ops.matmul(z, ops.ones((12, 12))),),
                (x,),
            )[0]

        return image_model(layers.Lambda(until, name="until"))

    def test_a_budget_names_layer_and_cure(self):
        for name in ("macs", "peak_memory_bytes"):
            with self.assertRaisesRegex(ValueError, "'until'.*unknown length.*rule"):
                tf_lossprune.prune_model(self.loop(), {name: 0.5})
        with self.assertRaises(UncountableError):
            tf_lossprune.cost(self.loop())

    def test_parameters_can_be_budgeted_nevertheless(self):
        pruned = tf_lossprune.prune_model(
            self.loop(), {"params": 0.6}, method="uniform", channel_multiple=1
        )
        self.assertEqual([*pruned.cost()], ["params"])

    def test_inspection_says_what_is_not_counted(self):
        found = tf_lossprune.inspect_model(self.loop())
        self.assertEqual([*found.cost], ["params"])
        self.assertIn("until", found.uncounted["macs"])
        self.assertIn("unknown length", str(found))


class DynamicShapesTest(parameterized.TestCase):
    def build(self, size=None):
        x = keras.Input((size, size, 3))
        y = layers.Conv2D(8, 3)(layers.Conv2D(8, 3, strides=2)(x))
        y = layers.GlobalAveragePooling2D()(y)
        return keras.Model(x, layers.Dense(2)(y))

    def test_parameters_need_no_sizes(self):
        found = tf_lossprune.inspect_model(self.build())
        self.assertEqual([*found.cost], ["params"])
        tf_lossprune.prune_model(self.build(), {"params": 0.6}, method="uniform")

    def test_a_reference_shape_counts_as_a_static_one(self):
        names = ("macs", "params", PeakMemory(measure=False))
        static = tf_lossprune.inspect_model(self.build(17), resources=names)
        found = tf_lossprune.inspect_model(
            self.build(), resources=names, input_shape=(17, 17, 3)
        )
        self.assertEqual(found.cost, static.cost)
        self.assertEqual(found.smallest, static.smallest)
        self.assertEqual(
            tf_lossprune.cost(self.build(), input_shape=(17, 17, 3))["macs"],
            static.cost["macs"],
        )

    def test_a_budget_holds_for_the_reference_shape(self):
        model = self.build()
        with self.assertRaisesRegex(ValueError, "input_shape="):
            tf_lossprune.prune_model(model, {"macs": 0.5})
        pruned = tf_lossprune.prune_model(
            model,
            {"macs": 0.5},
            method="uniform",
            channel_multiple=1,
            input_shape=(17, 17, 3),
        )
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertEqual(compact.input_shape, (None, None, None, 3))
        dense, small = (
            tf_lossprune.cost(m, input_shape=(17, 17, 3))["macs"]
            for m in (model, compact)
        )
        self.assertLessEqual(small, 0.5 * dense)

    def test_a_shape_that_does_not_fit_is_an_error(self):
        for shape in ((17, 17, 4), (17, 17), [(17, 17, 3)] * 2, 17, "x"):
            with self.assertRaisesRegex(ValueError, "input_shape.*Received"):
                tf_lossprune.cost(self.build(), input_shape=shape)
