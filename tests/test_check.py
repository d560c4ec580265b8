"""The checks before training and delivery: they blame the right thing or nobody."""

import warnings
from unittest import mock

import keras
import numpy as np
from absl.testing import parameterized
from keras import layers, ops

import tf_lossprune
from tf_lossprune import samples
from tf_lossprune.check import check_compact, check_copy
from tf_lossprune.differences import relative_error
from tf_lossprune.graph import trace
from tf_lossprune.samples import sample

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


class Sampling(layers.Layer):
    """As in a variational autoencoder."""

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.generator = None if seed is None else keras.random.SeedGenerator(seed)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=self.generator)


def ended(inputs, x, finish=None):
    x = layers.Dense(16, activation="relu")(x)
    x = layers.Dense(16, activation="relu", name="middle")(x)
    x = layers.Dense(3)(x)
    return keras.Model(inputs, x if finish is None else finish(x))


def logarithm():
    inputs = keras.Input((8,))
    return ended(inputs, layers.Lambda(lambda x: ops.log(x))(inputs))


def root_at_the_end():
    inputs = keras.Input((8,))
    return ended(inputs, inputs, ops.sqrt)


def infinite():
    inputs = keras.Input((8,))
    return ended(inputs, inputs, lambda x: x / ops.relu(x))


def variational():
    inputs = keras.Input((8,))
    return ended(inputs, Sampling(3)(layers.Dense(8)(inputs)))


def indices():
    inputs = keras.Input((5,))
    return ended(inputs, layers.Flatten()(layers.Embedding(1, 4)(inputs)))


def channels_first():
    inputs = keras.Input((3, 10, 10))
    x = layers.Conv2D(8, 3, activation="relu", data_format="channels_first")(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.Conv2D(8, 3, data_format="channels_first")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return ended(inputs, x)


def words():
    inputs = keras.Input((1,), dtype="string")
    x = layers.StringLookup(vocabulary=["a", "b"])(inputs)
    return ended(inputs, layers.Flatten()(layers.Embedding(3, 4)(x)))


def texts():
    inputs = keras.Input((), dtype="string")
    x = layers.TextVectorization(output_sequence_length=5, vocabulary=["a", "b"])
    return ended(inputs, layers.Flatten()(layers.Embedding(4, 4)(x(inputs))))


def badly_conditioned(factor, finish=None):
    inputs = x = keras.Input((16,))
    for _ in range(6):
        x = layers.Dense(16)(layers.Dense(16, activation="relu")(x))
        x = ops.sin(factor * x)
    return ended(inputs, x, finish)


KINDS = {
    "nan_in_front": logarithm,
    "nan_at_the_end": root_at_the_end,
    "infinite": infinite,
    "variational": variational,
    "indices": indices,
    "channels_first": channels_first,
    "badly_conditioned": lambda: badly_conditioned(10.0),
}
if ON_TENSORFLOW:
    KINDS.update(words=words, texts=texts)


def pruned_of(model):
    return tf_lossprune.prune_model(
        model, {"params": 0.7}, method="uniform", channel_multiple=1
    )


class Seen(layers.Layer):
    """Notes the heights of the images that it is called with."""

    def __init__(self, heights, **kwargs):
        super().__init__(**kwargs)
        self.heights = lambda: heights

    def call(self, x):
        if x.shape[0] == samples.BATCH:  # else it is noted, not compared
            self.heights().append(x.shape[1])
        return x


def for_large_images(end, heights):
    """A network that computes far more than its weights take."""
    inputs = keras.Input((256, 256, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(Seen(heights)(inputs))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="middle")(x)
    return keras.Model(inputs, layers.Dense(3)(LARGE[end](x)))


def summed(x):
    """Sums over rows that smaller images do not have."""
    cropped = layers.Cropping2D(((40, 0), (0, 0)))(x)
    rows = [layers.Lambda(lambda v: ops.sum(v, (1, 2)))(v) for v in (cropped, x)]
    return layers.Concatenate()(rows)


def nested(x):
    inputs = keras.Input(x.shape[1:])
    y = layers.Conv2D(8, 3, activation="relu")(inputs)
    return keras.Model(inputs, layers.GlobalMaxPooling2D()(y), name="inside")(x)


LARGE = {
    "pooled": layers.GlobalAveragePooling2D(),
    "nested": nested,
    "flat": lambda x: layers.Flatten()(layers.MaxPooling2D(8)(x)),
    "rows_that_are_gone": summed,
}


class LargeImagesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(samples, "LEAST_ROOM", 2**20))

    @parameterized.parameters(*LARGE)
    def test_networks_are_compared_on_images_that_are_large_enough(self, end):
        heights = []
        model = for_large_images(end, heights)
        heights.clear()
        pruned = pruned_of(model)
        compact = tf_lossprune.strip_pruning(pruned)
        if end in ("pooled", "nested"):
            self.assertContainsSubset(heights, samples.SMALLER)
            self.assertNotEmpty(heights)
        else:
            self.assertIn(256, heights)
        self.assertEqual(compact.input_shape, (None, 256, 256, 3))
        with self.assertRaises(ValueError):
            model(np.zeros((1, 64, 64, 3), "float32"))
        layer = compact.get_layer("middle")
        layer.bias.assign(layer.bias + 1.0)
        with self.assertRaisesRegex(tf_lossprune.DifferenceError, "'middle'"):
            check_compact(pruned, compact)

    def test_small_networks_and_unknown_sizes_are_left_as_they_are(self):
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, layers.Conv2D(8, 3)(inputs))
        self.assertIsNone(samples.smaller_size(trace(model)))
        self.assertIsNone(samples.smaller_size(trace(indices())))


class CheckTest(parameterized.TestCase):
    @parameterized.parameters(*KINDS)
    def test_nothing_is_blamed_that_is_right(self, kind):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*could not be fully checked.*")
            pruned = pruned_of(KINDS[kind]())
            tf_lossprune.strip_pruning(pruned)

    def test_chaos_is_said_to_be_chaos(self):
        pruned = pruned_of(badly_conditioned(1e4))
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        kernel = compact.layers[1].kernel
        kernel.assign(kernel * (1 + 1e-6))
        with self.assertWarnsRegex(UserWarning, "move by"):
            check_compact(pruned, compact)

    def test_what_follows_an_unseeded_layer_is_said_not_to_be_compared(self):
        if not ON_TENSORFLOW:
            self.skipTest("on JAX such a layer cannot be compiled")
        inputs = keras.Input((8,))
        model = ended(inputs, Sampling(name="draws")(layers.Dense(8)(inputs)))
        with self.assertWarnsRegex(UserWarning, "draws"):
            pruned = pruned_of(model)
        compact = tf_lossprune.strip_pruning(pruned)
        compact.layers[1].bias.assign_add(np.ones(compact.layers[1].bias.shape))
        with self.assertRaisesRegex(tf_lossprune.DifferenceError, "dense"):
            check_compact(pruned, compact)

    @parameterized.parameters("variational", "badly_conditioned", "nan_at_the_end")
    def test_a_fault_is_found_and_nothing_trained_is_lost(self, kind):
        pruned = pruned_of(KINDS[kind]())
        compact = tf_lossprune.strip_pruning(pruned)
        layer = compact.get_layer(
            next(la.name for la in compact.layers if la.name.startswith("middle"))
        )
        layer.bias.assign(layer.bias + 1.0)
        with self.assertRaisesRegex(
            tf_lossprune.DifferenceError, r"'middle' \(Dense\).*check=False"
        ) as caught:
            check_compact(pruned, compact)
        self.assertIs(caught.exception.pruned, pruned)
        self.assertIs(caught.exception.compact, compact)

    def test_a_copy_that_computes_something_else_is_named_before_training(self):
        model = ended(inputs := keras.Input((8,)), layers.Dense(8)(inputs))
        pruned = pruned_of(model)
        names = {id(c.operation): c.operation.name for c in trace(model).calls}
        layer = pruned.network.get_layer("gated_middle").layer
        layer.bias.assign(layer.bias + 1.0)
        with self.assertRaisesRegex(tf_lossprune.DifferenceError, "'middle'"):
            check_copy(model, trace(model), names, pruned)

    def test_random_states_are_where_they_were(self):
        model = variational()
        before = [ops.convert_to_numpy(v) for v in model.variables]
        pruned_of(model)
        for old, new in zip(before, model.variables, strict=True):
            np.testing.assert_array_equal(old, ops.convert_to_numpy(new))

    def test_unknown_sizes_and_small_vocabularies(self):
        inputs = [keras.Input((None,), dtype="int32"), keras.Input((None, 4))]
        x = layers.Embedding(7, 4)(layers.Reshape((-1,))(inputs[0]))
        graph = trace(keras.Model(inputs, layers.Concatenate(axis=1)([x, inputs[1]])))
        numbers, values = sample(graph, size=40)
        self.assertEqual(numbers.shape, (3, 40))
        self.assertEqual((numbers.min(), numbers.max()), (0, 6))
        self.assertEqual(values.shape, (3, 40, 4))
        self.assertGreater(sample(graph, positive=True)[1].min(), 0)

    @parameterized.parameters(
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        ([np.inf, 4.0], [np.inf, 5.0], 0.25),
        ([1.0], [1.0, 2.0], np.inf),
    )
    def test_relative_error(self, a, b, expected):
        self.assertEqual(relative_error(np.array(a), np.array(b)), expected)
