"""Masks stay masks: padded steps count no more after pruning than before."""

import pathlib
import tempfile
import warnings

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from examples import models
from tests.graph.test_random_graphs import compare
from tf_lossprune.graph import analyze
from tf_lossprune.testing import close_at_random

layers = keras.layers
STEPS = 4


def words(name=None):
    return keras.Input((STEPS,), dtype="int32", name=name)


def embedded(inputs, width=6, name="embedding"):
    return layers.Embedding(20, width, mask_zero=True, name=name)(inputs)


def head(x):
    return layers.Dense(3, name="logits")(x)


def stacked(**settings):
    inputs = words()
    x = embedded(inputs)
    x = layers.LSTM(8, return_sequences=True, name="lstm", **settings)(x)
    x = layers.GRU(7, return_sequences=True, name="gru", **settings)(x)
    x = layers.Dropout(0.2)(x)
    x = layers.SimpleRNN(6, name="rnn", **settings)(x)
    return keras.Model(inputs, head(x))


def every_step():
    inputs = words()
    x = embedded(inputs)
    x = layers.GRU(8, return_sequences=True, name="gru")(x)
    x = layers.BatchNormalization()(layers.Dense(6, activation="relu", name="d")(x))
    return keras.Model(inputs, head(x))


def last_state_too():
    inputs = words()
    x = embedded(inputs)
    x, h, c = layers.LSTM(8, return_sequences=True, return_state=True, name="a")(x)
    x = layers.LSTM(8, name="b")(x, initial_state=[h, c])
    return keras.Model(inputs, head(x))


def in_both_directions():
    inputs = words()
    x = layers.LSTM(8, return_sequences=True, name="first")(embedded(inputs))
    x = layers.Bidirectional(layers.GRU(5, return_sequences=True))(x)
    return keras.Model(inputs, head(layers.GlobalAveragePooling1D()(x)))


def average_of_words():
    inputs = words()
    x = layers.GlobalAveragePooling1D()(embedded(inputs, 8))
    return keras.Model(inputs, head(layers.Dense(8, name="d")(x)))


def two_features_side_by_side():
    a, b = words("a"), words("b")
    x = layers.Concatenate()([embedded(a, 6, "left"), embedded(b, 5, "right")])
    x = layers.LSTM(8, name="lstm")(x)
    return keras.Model([a, b], head(x))


def words_and_an_unmasked_feature():
    a, b = words("a"), keras.Input((STEPS, 3), name="b")
    b_wide = layers.Dense(6, activation="relu", name="dense")(b)
    x = layers.Concatenate()([embedded(a), b_wide])
    x = layers.Bidirectional(layers.LSTM(4))(x)
    return keras.Model([a, b], head(x))


def residual():
    inputs = words()
    x = embedded(inputs)
    x = layers.Add()([x, layers.LSTM(6, return_sequences=True, name="lstm")(x)])
    return keras.Model(inputs, head(layers.GRU(5, name="gru")(x)))


def transformer(causal=False, scores=False):
    inputs = words()
    x = layers.Dense(6, name="dense")(embedded(inputs))
    attention = layers.MultiHeadAttention(4, 3, name="attention", dropout=0.1)
    y = attention(x, x, use_causal_mask=causal, return_attention_scores=scores)
    y, rest = (y[0], [layers.Flatten()(y[1][:, :, 0])]) if scores else (y, [])
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling1D()(x)
    outputs = [head(x), *rest]
    return keras.Model(inputs, outputs if scores else outputs[0])


def attention_by_a_given_mask():
    inputs, allowed = words(), keras.Input((STEPS, STEPS), dtype="bool")
    x = layers.Dense(6, name="dense")(embedded(inputs))
    attention = layers.MultiHeadAttention(4, 3, name="attention")
    y = attention(x, key=x, value=x, attention_mask=allowed)
    return keras.Model([inputs, allowed], head(layers.Add()([x, y])))


def attention_by_a_mask_for_each_head():
    inputs, allowed = words(), keras.Input((4, STEPS, STEPS), dtype="bool")
    x = layers.Dense(6, name="dense")(layers.Embedding(20, 6)(inputs))
    attention = layers.MultiHeadAttention(4, 3, name="attention")
    y = attention(x, x, attention_mask=allowed)
    return keras.Model([inputs, allowed], head(layers.Add()([x, y])))


def masking_of_the_input():
    inputs = keras.Input((STEPS, 3))
    x = layers.LSTM(8, return_sequences=True, name="a")(layers.Masking()(inputs))
    x = layers.SimpleRNN(6, go_backwards=True, name="b")(x)
    return keras.Model(inputs, head(x))


def masking_of_what_a_layer_computes():
    inputs = keras.Input((STEPS, 3))
    x = layers.Dense(8, activation="relu", name="read_by_mask")(inputs)
    x = layers.LSTM(8, name="lstm")(layers.Masking()(x))
    return keras.Model(inputs, head(x))


def mask_given_by_hand():
    inputs, valid = keras.Input((STEPS, 3)), keras.Input((STEPS,), dtype="bool")
    x = layers.Dense(6, activation="relu", name="dense")(inputs)
    x = layers.LSTM(8, return_sequences=True, name="lstm")(x, mask=valid)
    x = layers.Softmax(axis=1)(x, ops.expand_dims(valid, -1))
    x = layers.GlobalAveragePooling1D()(x, mask=valid)
    return keras.Model([inputs, valid], head(x))


def nested_models():
    inside = keras.Input((STEPS, 6))
    y = layers.LSTM(8, return_sequences=True, name="inner")(layers.Dropout(0.1)(inside))
    encoder = keras.Model(inside, y)
    inputs = words()
    reader = keras.Sequential([words(), layers.Embedding(20, 6, mask_zero=True)])
    x = encoder(reader(inputs))
    return keras.Model(inputs, head(layers.LSTM(6, name="outer")(x)))


def mask_given_to_a_nested_model():
    inside = keras.Input((STEPS, 3))
    encoder = keras.Model(inside, layers.LSTM(8, name="inner")(inside))
    inputs, valid = keras.Input((STEPS, 3)), keras.Input((STEPS,), dtype="bool")
    return keras.Model([inputs, valid], head(encoder(inputs, mask=valid)))


def half_precision():
    with_policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    inputs = words()
    x = layers.Embedding(20, 6, mask_zero=True, dtype=with_policy)(inputs)
    x = layers.LSTM(8, name="lstm", dtype=with_policy)(x)
    return keras.Model(inputs, head(x))


NETWORKS = {
    "stacked": (stacked, ["embedding", "lstm", "gru", "rnn"]),
    "backwards, padding becomes zero": (
        lambda: stacked(go_backwards=True, zero_output_for_mask=True),
        ["embedding", "lstm", "gru", "rnn"],
    ),
    "every step": (every_step, ["embedding", "gru", "d"]),
    "states": (last_state_too, ["embedding", "a"]),
    "bidirectional": (in_both_directions, ["embedding", "first"]),
    "average": (average_of_words, ["embedding", "d"]),
    "concatenated": (two_features_side_by_side, ["left", "right", "lstm"]),
    "partly masked": (words_and_an_unmasked_feature, ["embedding", "dense"]),
    "residual": (residual, ["embedding", "gru"]),
    "attention": (transformer, ["attention"]),
    "causal": (lambda: transformer(causal=True), ["attention"]),
    "scores": (lambda: transformer(scores=True), ["embedding"]),
    "attention mask": (attention_by_a_given_mask, ["attention", "dense"]),
    "mask for each head": (attention_by_a_mask_for_each_head, ["dense"]),
    "masking": (masking_of_the_input, ["a", "b"]),
    "masking inside": (masking_of_what_a_layer_computes, ["lstm"]),
    "by hand": (mask_given_by_hand, ["dense", "lstm"]),
    "nested": (nested_models, ["embedding", "inner", "outer"]),
    "by hand, nested": (mask_given_to_a_nested_model, ["inner"]),
}


def padded(model, seed=0, samples=4):
    """Random input whose sequences have different lengths."""
    rng = np.random.default_rng(seed)
    valid = np.arange(STEPS) < rng.integers(1, STEPS, (samples, 1))

    def fill(tensor):
        shape = (samples, *tensor.shape[1:])
        if tensor.dtype == "int32":
            return rng.integers(1, 20, shape).astype("int32") * valid
        if tensor.dtype == "bool":
            return np.broadcast_to(valid[:, None], shape) if len(shape) > 2 else valid
        return rng.normal(size=shape).astype("float32") * valid[..., None]

    found = [fill(tensor) for tensor in model.inputs]
    return found if len(found) > 1 else found[0]


class MasksTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)

    @parameterized.named_parameters((name, *v) for name, v in NETWORKS.items())
    def test_padded_sequences_come_out_as_before(self, build, prunable):
        model = build()
        models.randomize(model, 1)
        x = padded(model)
        expected = model(x, training=False)
        found = {p for group in analyze(model).groups for p in group.producers}
        self.assertContainsSubset(prunable, found)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            pruned = tf_lossprune.prune_model(
                model, {"params": 1.0}, method="uniform", channel_multiple=1
            )
            compare(expected, pruned(x, training=False))
            close_at_random(pruned, np.random.default_rng(1))
            gated = pruned(x, training=False)
            compact = tf_lossprune.strip_pruning(pruned, check=False)
        compare(gated, compact(x, training=False))
        self.assertLess(compact.count_params(), model.count_params())
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        compact.save(folder / "compact.keras")
        again = keras.models.load_model(folder / "compact.keras")
        compare(gated, again(x, training=False))

    def test_a_masked_model_from_disk_prunes_like_the_one_in_memory(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        model = two_features_side_by_side()
        model.save(folder / "model.keras")
        loaded = keras.models.load_model(folder / "model.keras")
        for one, other in zip(analyze(model).groups, analyze(loaded).groups):
            self.assertEqual(str(one), str(other))
        self.assertLen(analyze(loaded).groups, 3)

    def test_float16_keeps_its_mask(self):
        model = half_precision()
        x = padded(model)
        pruned = tf_lossprune.prune_model(model, {"params": 0.6}, method="uniform")
        compact = tf_lossprune.strip_pruning(pruned)
        as_padding = np.where(x == 0, 19, x)
        for network in (pruned, compact):
            a, b = network(x, training=False), network(as_padding, training=False)
            self.assertGreater(np.abs(np.array(a) - np.array(b)).max(), 1e-3)
        dense = tf_lossprune.prune_model(model, {"params": 1.0}, method="uniform")
        np.testing.assert_allclose(
            dense(x, training=False), model(x, training=False), atol=1e-2
        )
