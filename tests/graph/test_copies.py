"""Live Python objects survive pruning: what comes out computes what went in."""

import keras
import numpy as np
from absl.testing import absltest, parameterized
from keras import layers, ops

import tf_lossprune
from tf_lossprune.graph import trace
from tf_lossprune.surgery import copy_graph


def relu(x):
    """A function of the user's that is named like one of Keras'."""
    return ops.tanh(x)


gelu = softplus = relu


class Strange(layers.Layer):
    """Not registered, `get_config` does not exist, `__init__` takes anything."""

    def __init__(self, function, *rest):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


class Forgetful(layers.Layer):
    """Its `get_config` forgets an argument that has to be given."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {"name": self.name}


class Block(layers.Layer):
    """Layers in containers, inner models, a closure over its own weight."""

    def __init__(self, function, width, **kwargs):
        super().__init__(**kwargs)
        self.sequential = keras.Sequential(
            [layers.Dense(width, activation=function), layers.BatchNormalization()]
        )
        self.held = [{"dense": layers.Dense(width)}]
        inputs = keras.Input((8, 8, width))
        self.inner = keras.Model(inputs, ops.relu(layers.Dense(width)(inputs)) + 1)
        self.scale = lambda x: x * self.gain

    def build(self, shape):
        self.gain = self.add_weight(shape=(), initializer="ones", name="gain")
        self.sequential.build(shape)
        self.held[0]["dense"].build(shape)

    def call(self, x):
        x = self.scale(self.sequential(x))
        return self.inner(self.held[0]["dense"](x))


class Subclassed(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.conv = layers.Conv2D(8, 1, activation=function)
        self.rest = keras.Sequential([layers.Dense(8)])

    def call(self, x):
        return self.rest(self.conv(x))


class Cell(layers.Layer):
    def __init__(self, units, function):
        super().__init__()
        self.state_size, self.function = units, function
        self.dense = layers.Dense(units)

    def build(self, shape):
        self.dense.build((shape[0], shape[1] + self.state_size))

    def call(self, x, states):
        x = self.function(self.dense(ops.concatenate([x, states[0]], -1)))
        return x, [x]


class Silent(keras.regularizers.Regularizer):
    def __call__(self, w):
        return 0.0 * ops.sum(w)


def sequence(layer):
    def middle(x):
        x = layer(layers.Reshape((64, 8))(x))
        return layers.Dense(8)(layers.Reshape((8, 8, -1))(x))

    return middle


def own_objects():
    return layers.Conv2D(
        8,
        1,
        activation=relu,
        kernel_regularizer=Silent(),
        kernel_constraint=lambda w: w,
        kernel_initializer=lambda shape, dtype=None: ops.ones(shape, dtype),
    )


def changed_afterwards(x):
    layer, norm = layers.Dense(8, activation="relu"), layers.BatchNormalization()
    x = norm(layer(x))
    layer.activation = ops.sin
    norm.epsilon = 0.3
    norm.trainable = False
    return x


def tied(x):
    layer = layers.Dense(8, use_bias=False)
    return ops.matmul(layer(x), layer.kernel)


def quantized(x):
    layer = layers.Dense(8)
    x = layer(x)
    layer.quantize("int8")
    return x


KINDS = {
    "own_relu": lambda: layers.Activation(relu),
    "own_gelu": lambda: layers.Dense(8, activation=gelu),
    "lambda_of_a_lambda": lambda: layers.Lambda(lambda x: 2 * x),
    "lambda_of_a_function": lambda: layers.Lambda(relu, output_shape=lambda s: s),
    "own_regularizers_and_such": own_objects,
    "no_config": lambda: Strange(relu, 1, 2),
    "wrong_config": lambda: Forgetful(3.0),
    "block": lambda: Block(relu, 8),
    "subclassed_model": lambda: Subclassed(relu),
    "own_cell": lambda: sequence(layers.RNN(Cell(4, relu), return_sequences=True)),
    "bidirectional": lambda: sequence(
        layers.Bidirectional(layers.LSTM(4, activation=relu, return_sequences=True))
    ),
    "lstm": lambda: sequence(
        layers.LSTM(
            4,
            activation=relu,
            recurrent_activation=lambda x: ops.sigmoid(x),
            return_sequences=True,
        )
    ),
    "wrapped": lambda: layers.SpectralNormalization(layers.Dense(8)),
    "time_distributed": lambda: layers.TimeDistributed(
        layers.Dense(8, activation=relu)
    ),
    "changed_after_construction": lambda: changed_afterwards,
    "tied_by_hand": lambda: tied,
    "quantized": lambda: quantized,
    "float64_layer": lambda: layers.Dense(8, dtype="float64", activation=relu),
    "noise": lambda: layers.GaussianNoise(0.1),
    "normalization": lambda: layers.Normalization(mean=[1.0] * 8, variance=[2.0] * 8),
}
if keras.backend.backend() != "tensorflow":
    del KINDS["float64_layer"]


def network(middle):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(12, 3, padding="same", activation=relu)(inputs)
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(x)
    x = layers.Dense(8, activation=lambda x: ops.sin(x))(x)
    x = middle(x)
    x = layers.Conv2D(6, 3, activation=softplus)(x)
    x = layers.Dense(8)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def randomized(model):
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(rng.uniform(0.1, 0.5, variable.shape))
    return model


def values(model):
    return [ops.convert_to_numpy(v) for v in model.variables]


class CopiesTest(parameterized.TestCase):
    @parameterized.parameters(*KINDS)
    def test_pruning_keeps_the_live_objects(self, kind):
        model = randomized(network(KINDS[kind]()))
        x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
        before = values(model)
        expected = model(x, training=False)
        pruned = tf_lossprune.prune_model(
            model, {"params": 0.8}, method="uniform", channel_multiple=1
        )
        own = {id(v) for v in model.variables}
        self.assertFalse(any(id(v) in own for v in pruned.variables))
        kept = ops.convert_to_numpy(pruned.search.kept)
        pruned.search.kept.assign(np.ones_like(kept))
        np.testing.assert_allclose(
            ops.convert_to_numpy(pruned(x, training=False)),
            ops.convert_to_numpy(expected),
            rtol=1e-4,
            atol=1e-5,
        )
        pruned.search.kept.assign(kept)
        tf_lossprune.strip_pruning(pruned)
        for old, new in zip(before, values(model), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_a_copy_trains_without_the_model_it_came_from(self):
        model = network(Block(relu, 8))
        copy, names = copy_graph(trace(model))
        before = values(model)
        x = np.ones((4, 8, 8, 3), "float32")
        copy.compile(keras.optimizers.SGD(0.1), "mse")
        copy.fit(x, np.zeros((4, 3)), verbose=0)
        for old, new in zip(before, values(model), strict=True):
            np.testing.assert_array_equal(old, new)
        block = next(la for la in model.layers if isinstance(la, Block))
        gain = copy.get_layer(names[id(block)]).gain
        self.assertNotEqual(float(gain), float(block.gain))

    def test_weights_tied_by_hand_stay_tied(self):
        model = network(tied)
        copy, names = copy_graph(trace(model))
        x = np.ones((1, 8, 8, 3), "float32")
        layer = next(la for la in model.layers if getattr(la, "use_bias", 1) is False)
        for dense in (layer, copy.get_layer(names[id(layer)])):
            dense.kernel.assign(np.full((8, 8), 0.5))
        np.testing.assert_allclose(copy(x), model(x), rtol=1e-5)

    @parameterized.parameters("argument", "closure")
    def test_channels_of_weights_tied_by_hand_stay(self, kind):
        inputs = keras.Input((6,))
        x = layers.Dense(16, activation="relu")(inputs)
        layer = layers.Dense(8, use_bias=False, name="tied")
        x = layers.Dense(16, activation="relu")(layer(x))
        x = layers.Dense(8)(x)
        if kind == "argument":
            x = ops.matmul(x, ops.transpose(layer.kernel.value))
            x = ops.matmul(x, layer.kernel)
        else:
            x = layers.Lambda(lambda x: x @ ops.transpose(layer.kernel))(x)
        model = keras.Model(inputs, layers.Dense(2)(x))
        pruned = tf_lossprune.prune_model(
            model, {"params": 0.9}, method="uniform", channel_multiple=1
        )
        self.assertNotIn("tied", [group.name for group in pruned.groups])
        compact = tf_lossprune.strip_pruning(pruned)
        kernel = compact.get_layer("tied").kernel
        self.assertEqual(tuple(kernel.shape), (16, 8))
        tail = keras.Model(compact.get_layer("tied").output, compact.output)
        given = np.ones((1, 8), "float32")
        before = ops.convert_to_numpy(tail(given))
        kernel.assign(2 * kernel)
        self.assertFalse(np.allclose(before, ops.convert_to_numpy(tail(given))))

    def test_a_string_lookup_keeps_its_words(self):
        if keras.backend.backend() != "tensorflow":
            self.skipTest("strings are TensorFlow's")
        inputs = keras.Input((3,), dtype="string")
        x = layers.StringLookup(vocabulary=["a", "b", "c"])(inputs)
        x = layers.Flatten()(layers.Embedding(4, 8)(x))
        x = layers.Dense(16, activation="relu")(x)
        model = keras.Model(inputs, layers.Dense(2)(x))
        words = ops.convert_to_tensor([["a", "c", "x"]])
        pruned = tf_lossprune.prune_model(model, {"params": 0.9})
        np.testing.assert_allclose(pruned(words), model(words), rtol=1e-5)


if __name__ == "__main__":
    absltest.main()
