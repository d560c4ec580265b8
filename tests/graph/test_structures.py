"""Whatever shape a user's model has: nested, shared, named oddly, half frozen."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from examples import models
from tests.graph.test_random_graphs import check_model, compare
from tf_lossprune.graph import analyze

layers = keras.layers


def head(x, units=3):
    return layers.Dense(units)(layers.GlobalAveragePooling2D()(x))


@keras.saving.register_keras_serializable(package="tests")
class WithGraph(keras.Model):
    """A functional subclass whose config knows nothing of its graph."""

    def __init__(self, width=6, **kwargs):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(width, 3, activation="relu", name="a")(inputs)
        super().__init__(inputs, head(layers.Conv2D(4, 1, name="b")(x)), **kwargs)
        self.width = width

    def get_config(self):
        return {"width": self.width}


def deep_nesting():
    def block(width, inner):
        inside = keras.Input((8, 8, width))
        y = layers.Conv2D(5, 3, padding="same", activation="relu")(inside)
        y = inner(y) if inner is not None else y
        y = layers.Conv2D(width, 1)(y)
        return keras.Model(inside, layers.Add()([inside, y]))

    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(inputs)
    return keras.Model(inputs, head(block(4, block(5, block(5, None)))(x)))


def shared_submodel():
    inside = keras.Input((8, 8, 4))
    y = layers.Conv2D(6, 3, activation="relu")(inside)
    y = layers.Reshape((36, 6))(y)
    tower = keras.Model(inside, ops.mean(y, axis=1))
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))
    first = tower(layers.Conv2D(4, 1)(a))
    second = tower(layers.Conv2D(4, 1)(b))
    distance = layers.Dense(1)(ops.abs(first - second))
    return keras.Model([a, b], [distance, layers.Dense(2)(first)])


def inner_tensors_as_outputs():
    inputs = keras.Input((8, 8, 3))
    a = layers.Conv2D(4, 3, name="a")(inputs)
    b = layers.Conv2D(6, 3, name="b")(layers.ReLU()(a))
    c = layers.Conv2D(6, 3, name="c")(layers.ReLU()(b))
    return keras.Model(inputs, [b, head(c)])


def names_of_wrappers():
    inputs = keras.Input((8, 8, 3), name="channel_gates_input")
    x = layers.Conv2D(4, 3, name="gated_conv")(inputs)
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.Conv2D(4, 3, name="gated_conv_")(x)
    return keras.Model(inputs, head(layers.ReLU(name="channel_gates")(x)))


def called_by_keyword():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(inputs=inputs)
    x = layers.BatchNormalization()(inputs=x, training=False)
    return keras.Model(inputs, head(layers.Conv2D(4, 3, name="b")(inputs=x)))


def adapted_input():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3.0, 2.0, (16, 8, 8, 3)))
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="a")(normalization(inputs))
    return keras.Model(inputs, head(layers.Conv2D(4, 3)(x)))


def u_net():
    inputs = keras.Input((8, 8, 1))
    a = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    b = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(a))
    up = layers.Conv2DTranspose(4, 2, strides=2, activation="relu")(b)
    x = layers.Concatenate()([a, up])
    x = layers.Conv2D(5, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x))


def channels_first():
    inputs = keras.Input((3, 8, 8))
    options = {"padding": "same", "data_format": "channels_first"}
    x = layers.Conv2D(4, 3, **options)(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.PReLU(shared_axes=[2, 3])(x)
    x = layers.DepthwiseConv2D(3, **options)(x)
    y = layers.Conv2D(4, 1, **options)(x)
    x = layers.MaxPooling2D(2, data_format="channels_first")(layers.Add()([x, y]))
    x = layers.Flatten(data_format="channels_first")(x)
    return keras.Model(inputs, layers.Dense(2)(x))


def volumes():
    inputs = keras.Input((4, 4, 4, 2))
    x = layers.Conv3D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.Conv3DTranspose(3, 2, strides=2)(layers.MaxPooling3D()(x))
    x = layers.GlobalMaxPooling3D()(x)
    return keras.Model(inputs, layers.Dense(2)(x))


def text():
    inputs = keras.Input((12,))
    x = layers.Embedding(20, 6)(ops.cast(ops.abs(inputs) * 4, "int32"))
    x = layers.Conv1D(8, 3, activation="relu")(x)
    x = layers.LSTM(5, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(4, reset_after=False))(x)
    return keras.Model(inputs, layers.Dense(2)(x))


def states():
    inputs = keras.Input((6, 3))
    x = layers.Dense(5)(inputs)
    x, h, c = layers.LSTM(4, return_sequences=True, return_state=True, name="cells")(x)
    x = layers.LSTM(4)(x, initial_state=[h, c])
    return keras.Model(inputs, layers.Dense(2)(x))


def transformer():
    inputs = keras.Input((6, 3))
    x = layers.Dense(8)(inputs)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(4, 3, name="heads")(y, y)
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    x = x + layers.Dense(8)(y)
    y = layers.GroupQueryAttention(3, 4, 2)(x, x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(y)))


def video():
    inputs = keras.Input((3, 6, 6, 2))
    x = layers.Dense(4, activation="relu")(inputs)
    x = layers.ConvLSTM2D(3, 3, return_sequences=True)(x)
    x = layers.ConvLSTM2D(3, 3)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def channel_attention():
    """Weights per channel in an einsum, and a kernel over three axes."""
    inputs = keras.Input((6, 3))
    x = layers.Conv1D(4, 1)(inputs)
    x = layers.EinsumDense("abc,c->abc", (6, 4), bias_axes="c")(x)
    x = layers.EinsumDense("abc,cde->abde", (6, 2, 3), bias_axes="de")(x)
    x = layers.EinsumDense("...de,def->...f", 5, bias_axes="f")(x)
    x = layers.EinsumDense("abc,cd->abd", (6, 2))(x)
    return keras.Model(inputs, layers.Flatten()(x))


BUILDERS = [
    WithGraph, deep_nesting, shared_submodel, inner_tensors_as_outputs,
    names_of_wrappers, called_by_keyword, adapted_input, u_net,
    volumes, text, states, transformer, video, channel_attention,
]  # fmt: skip


class StructuresTest(parameterized.TestCase):
    @parameterized.named_parameters((b.__name__, b) for b in BUILDERS)
    def test_compact_equals_gated(self, build):
        model = build()
        models.randomize(model, seed=2)
        self.assertNotEmpty(analyze(model).groups)
        for seed in range(3):
            check_model(model, seed)

    def test_channels_first(self):
        model = channels_first()
        models.randomize(model, seed=2)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)
        x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")
        run = [pruned, compact]
        if keras.backend.backend() == "tensorflow":  # with XLA only, on a CPU
            run = [tf.function(model, jit_compile=True) for model in run]
        compare(*(model(x) for model in run))
        self.assertLess(compact.count_params(), model.count_params())

    def test_heads_and_hidden_units_are_groups(self):
        found = {g.name: g.size for g in analyze(transformer()).groups}
        self.assertEqual(found["heads"], 4)
        self.assertIn(16, found.values())
        found = {g.name: g.size for g in analyze(states()).groups}
        self.assertEqual(found["cells"], 4)

    def test_frozen_layers_may_be_pruned_and_stay_untrained(self):
        model = models.digits_resnet(width=8)
        models.randomize(model, seed=0)
        for layer in model.layers[: len(model.layers) // 2]:
            layer.trainable = False
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, seed=0)
        pruned.compile(
            "sgd", keras.losses.SparseCategoricalCrossentropy(True), jit_compile=False
        )
        x = np.random.default_rng(0).normal(size=(16, *model.input_shape[1:]))
        pruned.fit(x, np.arange(16) % 10, batch_size=4, epochs=2, verbose=0)
        compact = tf_lossprune.strip_pruning(pruned)
        kept = pruned.kept_channels()
        self.assertLess(kept["stem_conv"][0], kept["stem_conv"][1])
        stem, small = (m.get_layer("stem_conv") for m in (model, compact))
        self.assertFalse(small.trainable)
        values = np.asarray(stem.kernel).sum(axis=(0, 1, 2))
        found = np.asarray(small.kernel).sum(axis=(0, 1, 2))
        self.assertContainsSubset(found.round(4).tolist(), values.round(4).tolist())

    @parameterized.parameters("mixed_float16", "mixed_bfloat16", "float64")
    def test_other_types(self, policy):
        keras.config.set_dtype_policy(policy)
        try:
            model = models.build("squeeze_excite_net")
        finally:
            keras.config.set_dtype_policy("float32")
        models.randomize(model, 0)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)  # which compares the outputs
        self.assertEqual(
            [la.compute_dtype for la in compact.layers][1:3],
            [la.compute_dtype for la in model.layers][1:3],
        )

    def test_quantized_and_lora_layers_are_frozen(self):
        def build():
            inputs = keras.Input((4,))
            x = layers.Dense(8, name="a")(inputs)
            return keras.Model(inputs, layers.Dense(2, name="b")(x))

        model = build()
        model.get_layer("b").enable_lora(2)
        self.assertIn("LoRA", dict(analyze(model).frozen)["a"])
        model = build()
        model.get_layer("b").quantize("int8")
        self.assertIn("quantized", dict(analyze(model).frozen)["a"])
