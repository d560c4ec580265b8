"""Models go to Keras 2 and come back unchanged."""

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import layers, ops

import tf_lossprune
from examples import models
from tf_lossprune.deploy import from_tf_keras, to_tf_keras

tf_keras = pytest.importorskip("tf_keras")


def relu(x):
    """A function of the user's, named like a stock one."""
    return x * x - 1


IMAGE, SEQUENCE, VECTOR = (6, 6, 4), (7, 4), (5,)

#: Layers whose config or weights differ, one of each kind.
LAYERS = {
    "conv": (lambda: layers.Conv2D(4, 3, strides=2, padding="same"), IMAGE),
    "grouped": (lambda: layers.Conv2D(4, 3, groups=2, dilation_rate=2), IMAGE),
    "conv_transposed": (lambda: layers.Conv2DTranspose(3, 3, strides=2), IMAGE),
    "conv1d": (lambda: layers.Conv1D(3, 3, padding="causal"), SEQUENCE),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), IMAGE),
    "separable": (lambda: layers.SeparableConv2D(5, 3, activation="relu6"), IMAGE),
    "regularized": (
        lambda: layers.Dense(3, kernel_regularizer="l2", kernel_constraint="max_norm"),
        VECTOR,
    ),
    "batch_norm": (lambda: layers.BatchNormalization(scale=False), IMAGE),
    "batch_norm_axis": (lambda: layers.BatchNormalization(axis=1), IMAGE),
    "layer_norm": (lambda: layers.LayerNormalization(epsilon=0.1), SEQUENCE),
    "group_norm": (lambda: layers.GroupNormalization(2), IMAGE),
    "unit_norm": (lambda: layers.UnitNormalization(), VECTOR),
    "normalization": (lambda: layers.Normalization(), VECTOR),
    "rescaling": (lambda: layers.Rescaling(0.5, [1.0, 2.0, 3.0, 4.0]), IMAGE),
    "resizing": (lambda: layers.Resizing(3, 3), IMAGE),
    "leaky": (lambda: layers.LeakyReLU(0.4), VECTOR),
    "relu": (lambda: layers.ReLU(2.0, negative_slope=0.1, threshold=0.2), VECTOR),
    "prelu": (lambda: layers.PReLU(shared_axes=[1, 2]), IMAGE),
    "softmax": (lambda: layers.Softmax(axis=1), IMAGE),
    "activation_layer": (lambda: layers.Dense(3, activation=layers.ELU(0.3)), VECTOR),
    "pool": (lambda: layers.MaxPooling2D(3, 2, padding="same"), IMAGE),
    "average": (lambda: layers.AveragePooling2D(2), IMAGE),
    "global": (lambda: layers.GlobalAveragePooling2D(keepdims=True), IMAGE),
    "flatten": (lambda: layers.Flatten(), IMAGE),
    "reshape": (lambda: layers.Reshape((3, -1)), IMAGE),
    "permute": (lambda: layers.Permute((2, 3, 1)), IMAGE),
    "padding": (lambda: layers.ZeroPadding2D(((1, 2), (0, 1))), IMAGE),
    "cropping": (lambda: layers.Cropping2D(1), IMAGE),
    "upsampling": (lambda: layers.UpSampling2D(2, interpolation="bilinear"), IMAGE),
    "dropout": (lambda: layers.SpatialDropout2D(0.3), IMAGE),
    "repeat": (lambda: layers.RepeatVector(3), VECTOR),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (7, 3)), SEQUENCE),
    "lstm": (lambda: layers.LSTM(3, return_sequences=True), SEQUENCE),
    "gru": (lambda: layers.GRU(3, reset_after=False), SEQUENCE),
    "bidirectional": (lambda: layers.Bidirectional(layers.LSTM(3)), SEQUENCE),
    "distributed": (lambda: layers.TimeDistributed(layers.Dense(2)), SEQUENCE),
}
ACTIVATIONS = (
    "elu exponential gelu hard_sigmoid hard_silu leaky_relu linear mish relu relu6 "
    "selu sigmoid silu softmax softplus softsign tanh"
).split()


def chain(layer, shape):
    inputs = keras.Input(shape)
    return models.randomize(keras.Model(inputs, layer(inputs), name="chain"))


def assert_same(expected, actual, tolerance=1e-5):
    rng = np.random.default_rng(1)
    shapes = [(3, *t.shape[1:]) for t in keras.tree.flatten(expected.inputs)]
    x = [rng.normal(size=shape).astype("float32") for shape in shapes]
    x = x[0] if len(x) == 1 else x
    pairs = zip(
        keras.tree.flatten(expected(x, training=False)),
        keras.tree.flatten(actual(x, training=False)),
        strict=True,
    )
    for a, b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        assert np.abs(a - b).max() <= tolerance * np.abs(a).max()


class CrossingTest(parameterized.TestCase):
    @parameterized.named_parameters((name, *entry) for name, entry in LAYERS.items())
    def test_layer_there_and_back(self, make, shape):
        model = chain(make(), shape)
        there = to_tf_keras(model)
        self.assertIsInstance(there, tf_keras.Model)
        assert_same(model, there)
        back = from_tf_keras(there)
        self.assertIsInstance(back, keras.Model)
        assert_same(model, back)
        if "activation_layer" not in self.id() and "separable" not in self.id():
            before, after = model.layers[1].get_config(), back.layers[1].get_config()
            self.assertEqual(before.keys(), after.keys())
            self.assertEqual(before["name"], after["name"])

    @parameterized.parameters(*ACTIVATIONS)
    def test_activation_there_and_back(self, name):
        for layer in (layers.Dense(6, activation=name), layers.Activation(name)):
            model = chain(layer, VECTOR)
            there = to_tf_keras(model)
            assert_same(model, there)
            assert_same(model, from_tf_keras(there))

    @parameterized.parameters(
        "digits_resnet", "mobilenet_v1", "squeeze_excite_net", "densenet_small"
    )
    def test_compact_network_there_and_back(self, name):
        model = models.build(name, input_shape=(16, 16, 3), width=8)
        models.randomize(model)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)
        there = to_tf_keras(compact)
        assert_same(compact, there)
        back = from_tf_keras(there)
        assert_same(compact, back)
        self.assertEqual(
            [x.name for x in compact.layers], [x.name for x in back.layers]
        )
        for a, b in zip(compact.get_weights(), back.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        # What comes back can be pruned again.
        self.assertEqual(
            tf_lossprune.inspect_model(compact).smallest,
            tf_lossprune.inspect_model(back).smallest,
        )

    def test_structures_and_shared_layers(self):
        a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
        shared = layers.Dense(3, name="shared")
        inner_in = keras.Input((3,))
        inner = keras.Model(inner_in, layers.Dense(2, name="inner_dense")(inner_in))
        x = layers.Add()([shared(a), shared(b)])
        model = keras.Model([a, b], {"x": inner(x), "y": layers.Dropout(0.5)(x)})
        models.randomize(model)
        there = to_tf_keras(model)
        self.assertEqual(set(there.output), {"x", "y"})
        assert_same(model, there)
        back = from_tf_keras(there)
        assert_same(model, back)
        self.assertLen(back.weights, 4)

    def test_operations(self):
        inputs = keras.Input((4, 4, 6))
        x = ops.relu6(inputs + 3.0) * (1.0 / 6.0)
        x = ops.concatenate([x * inputs, ops.silu(inputs)], axis=-1)
        x = x[:, 1:, :, :5] - ops.mean(x, axis=(1, 2), keepdims=True)[..., :5]
        x = ops.transpose(ops.reshape(ops.maximum(x, 0.1), (-1, 12, 5)), (0, 2, 1))
        model = keras.Model(inputs, x / 2.0)
        there = to_tf_keras(model)
        assert_same(model, there)
        assert_same(model, from_tf_keras(there))

    def test_names_that_either_keras_would_give(self):
        inputs = keras.Input((4,))
        x = ops.relu6(layers.ReLU(name="re_lu")(inputs)) + 1.0
        x = layers.Dense(4, activation="hard_silu", name="rescaling")(x)
        x = layers.Dense(4, activation="relu6", name="rescaling_relu")(x)
        x = layers.ReLU(name="rescaling_rescaling")(x)
        x = layers.Add(name="add_300")([layers.Add(name="sum")([x, x]), x])
        model = models.randomize(keras.Model(inputs, x * 2.0))
        there = to_tf_keras(model)
        assert_same(model, there)
        keras.backend.clear_session(free_memory=False)  # the numbers start again
        back = from_tf_keras(there)
        assert_same(model, back)
        for layer in model.layers[1:]:
            if isinstance(layer, layers.Layer):
                back.get_layer(layer.name)

    def test_mixed_precision_becomes_float32(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = chain(layers.Dense(3), VECTOR)
        finally:
            keras.config.set_dtype_policy("float32")
        there = to_tf_keras(model)
        self.assertEqual(there.layers[1].compute_dtype, "float32")
        assert_same(model, there, tolerance=0.05)

    def test_trainable_and_settings_are_kept(self):
        model = chain(
            layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1)), VECTOR
        )
        model.layers[1].trainable = False
        there = to_tf_keras(model)
        self.assertFalse(there.layers[1].trainable)
        self.assertAlmostEqual(float(there.layers[1].kernel_regularizer.l2), 0.1)
        self.assertFalse(from_tf_keras(there).layers[1].trainable)


class FromKeras2Test(parameterized.TestCase):
    def test_a_model_written_in_keras_2(self):
        old = tf_keras.layers
        inputs = tf_keras.Input((8, 8, 3))
        x = old.Conv2D(8, 3, activation="hard_sigmoid", name="a/b")(inputs)
        x = old.BatchNormalization()(x)
        inner = tf_keras.Sequential([old.Conv2D(8, 1), old.LeakyReLU(0.2)])
        x = inner(x) + x * 2.0
        x = old.Activation("hard_sigmoid")(x)
        model = tf_keras.Model(inputs, old.Dense(3)(old.Flatten()(x)))
        rng = np.random.default_rng(0)
        model.set_weights([rng.uniform(0.1, 1, w.shape) for w in model.get_weights()])
        carried = from_tf_keras(model)
        assert_same(carried, model)
        compact = tf_lossprune.strip_pruning(
            tf_lossprune.prune_model(carried, {"macs": 0.5}, method="uniform")
        )
        self.assertLess(compact.count_params(), carried.count_params())

    def test_sequential(self):
        old = tf_keras.layers
        model = tf_keras.Sequential([tf_keras.Input((4,)), old.Dense(3), old.Softmax()])
        assert_same(from_tf_keras(model), model)

    def test_layers_of_ones_own(self):
        class Double(tf_keras.layers.Layer):
            def build(self, shape):
                self.factor = self.add_weight(
                    name="factor", shape=(), initializer="ones"
                )

            def call(self, x):
                return 2.0 * self.factor * x

        class NewDouble(keras.layers.Layer):
            def build(self, shape):
                self.factor = self.add_weight(name="factor", shape=())

            def call(self, x):
                return 2.0 * self.factor * x

        model = tf_keras.Sequential([tf_keras.Input((4,)), Double(name="mine")])
        with pytest.raises(ValueError, match="'mine' is not a stock.*Received: Double"):
            from_tf_keras(model)
        made = from_tf_keras(model, {Double: lambda layer: NewDouble(name=layer.name)})
        assert_same(made, model)
        wrong = {Double: lambda layer: keras.layers.Rescaling(2.0)}
        with pytest.raises(ValueError, match="'mine' with the shapes"):
            from_tf_keras(model, wrong)
        with pytest.raises(TypeError, match="Expected custom_layers as"):
            from_tf_keras(model, [Double])

    def test_a_layer_that_differs_is_named(self):
        class Same(tf_keras.layers.Layer):
            def call(self, x):
                return x + 0.0

        old = tf_keras.layers
        model = tf_keras.Sequential(
            [tf_keras.Input((4,)), old.Dense(3), Same(name="culprit"), old.Dense(2)]
        )
        with pytest.raises(ValueError, match="layer 'culprit' .Same. does not"):
            from_tf_keras(model, {Same: lambda layer: keras.layers.Rescaling(1.01)})

    def test_what_cannot_be_read(self):
        old = tf_keras.layers
        cases = (
            (keras.Sequential([keras.Input((2,))]), "Keras 3 already"),
            (old.Dense(2), "Expected a functional"),
            (tf_keras.Sequential([old.Dense(2)]), "Expected a functional"),
            ("model.h5", "Expected a Keras 2"),
            (None, "Expected a Keras 2"),
        )
        for model, message in cases:
            with pytest.raises(TypeError, match=f"{message}.*Received: "):
                from_tf_keras(model)

    def test_what_keras_3_lacks_is_named(self):
        old = tf_keras.layers
        for layer, message in (
            (old.LocallyConnected1D(2, 2, name="odd"), "'odd' has no"),
            (old.Lambda(lambda x: x, name="odd"), "'odd'"),
            (old.GRU(2, recurrent_activation="hard_sigmoid", name="odd"), "'odd'"),
        ):
            model = tf_keras.Sequential([tf_keras.Input((5, 3)), layer])
            with pytest.raises(ValueError, match=f"{message}.*Received: "):
                from_tf_keras(model)
        inputs = tf_keras.Input((3,))
        import tensorflow as tf

        model = tf_keras.Model(inputs, tf.math.erfinv(inputs))
        with pytest.raises(ValueError, match="counterpart in Keras 3.*erfinv"):
            from_tf_keras(model)


class ToKeras2Test(parameterized.TestCase):
    @parameterized.parameters(
        (lambda: layers.RMSNormalization(name="odd"), "'odd' has no counterpart.*RMS"),
        (lambda: layers.Activation("celu", name="odd"), "'odd' .*celu"),
        (lambda: layers.Lambda(lambda x: x, name="odd"), "'odd'"),
    )
    def test_what_keras_2_lacks_is_named(self, make, message):
        with pytest.raises(ValueError, match=message):
            to_tf_keras(chain(make(), VECTOR))

    def test_operations_that_keras_2_lacks_are_named(self):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, ops.erfinv(inputs))
        with pytest.raises(
            ValueError, match="counterpart in Keras 2.*Received:.*Erfinv"
        ):
            to_tf_keras(model)

    def test_wrong_models(self):
        pruned = tf_lossprune.prune_model(
            models.digits_resnet(), {"macs": 0.5}, method="uniform"
        )
        with pytest.raises(ValueError, match="strip_pruning.*Received: "):
            to_tf_keras(pruned)
        with pytest.raises(TypeError, match="Received: builtins.str"):
            to_tf_keras("model.keras")
        with pytest.raises(TypeError, match="from_tf_keras.*Received: "):
            tf_lossprune.inspect_model(tf_keras.Sequential([tf_keras.Input((2,))]))


class OwnFunctionsTest(parameterized.TestCase):
    @parameterized.parameters("function", "lambda", "tensorflow", "nested")
    def test_an_activation_function_of_the_users_own_comes_along(self, kind):
        import tensorflow as tf

        function = {"lambda": lambda x: x * x, "tensorflow": tf.nn.elu}.get(kind, relu)
        inputs = tf_keras.Input((4, 4))
        x = tf_keras.layers.Dense(8, activation=function)(inputs)
        x = tf_keras.layers.Activation(function)(x)
        if kind == "nested":
            lstm = tf_keras.layers.LSTM(3, activation=function)
            x = tf_keras.layers.Bidirectional(lstm)(x)
        old = tf_keras.Model(inputs, x)
        model = from_tf_keras(old)
        x = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("float32")
        np.testing.assert_allclose(model(x), old(x), rtol=1e-4, atol=1e-5)
