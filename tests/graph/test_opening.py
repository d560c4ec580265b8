"""Models of any style are pruned: their own blocks and calls are opened."""

import dataclasses
import unittest
import warnings

import keras
import numpy as np
from absl.testing import parameterized
from keras import layers, ops

import tf_lossprune
from examples import models
from tests import judge
from tf_lossprune.graph import open_model
from tf_lossprune.surgery import copy_graph


class Residual(layers.Layer):
    """A block as people write it."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.conv1 = layers.Conv2D(2 * width, 3, padding="same", use_bias=False)
        self.norm = layers.BatchNormalization()
        self.conv2 = layers.Conv2D(width, 3, padding="same")
        self.skip = layers.Conv2D(width, 1)

    def call(self, x, training=None):
        y = ops.relu(self.norm(self.conv1(x), training=training))
        return ops.relu(self.conv2(y) + self.skip(x))


class Stage(layers.Layer):
    """Blocks in a block; dropout in training only."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Residual(width), Residual(width)]
        self.dropout = layers.Dropout(0.5, seed=1)

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x)
        if training:
            x = self.dropout(x, training=training)
        return x


class Network(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(8, 3, activation="relu")
        self.stages = {"low": Stage(8), "high": Stage(12)}
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(4)

    def call(self, x):
        x = self.stages["high"](self.stages["low"](self.stem(x)))
        return self.head(self.pool(x))


class TwoInputs(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b = layers.Dense(16), layers.Dense(16)
        self.head = layers.Dense(3)

    def call(self, left, right):
        return {"sum": self.head(ops.tanh(self.a(left) + self.b(right)))}


class Split(layers.Layer):
    """A dict comes out, a list goes in."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b = layers.Dense(12), layers.Dense(12)

    def call(self, xs):
        return {"a": self.a(xs[0]), "b": [self.b(xs[1]), xs[0]]}


class MakesLayers(layers.Layer):
    """Makes layers in its call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(16, 3)

    def call(self, x):
        return layers.ReLU()(layers.MaxPooling2D(2)(self.conv(x)))


class OverFunctional(layers.Layer):
    """A functional model inside a layer; called, it returns its list of one bare."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        x = keras.Input((12, 12, 3))
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, name="inside")(x))
        self.backbone = keras.Model(x, [layers.Conv2D(8, 3)(y)])

    def call(self, x):
        return 2.0 * self.backbone(x)


class Scaled(layers.Layer):
    """Weights of its own: per channel, per entry, one number, in a list."""

    def build(self, shape):
        self.conv = layers.Conv2D(shape[-1], 3, padding="same", dtype=self.dtype_policy)
        self.conv.build(shape)
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.table = self.add_weight(shape=(1, *shape[1:]), initializer="normal")
        self.factor = self.add_weight(shape=(), initializer="ones")
        self.fusion = [self.add_weight(shape=(1,)), self.add_weight(shape=(1,))]

    def call(self, x):
        y = self.gamma * self.conv(x) + self.table
        weights = [ops.relu(w) + 0.5 for w in self.fusion]
        return (x * weights[0] + y * weights[1]) * self.factor


class Named(layers.Layer):
    """Activations as functions."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(16, 3)

    def call(self, x):
        y = keras.activations.relu(self.conv(x), max_value=6.0)
        return keras.activations.gelu(y) + y * ops.sigmoid(1.7 * y)


class ReadsSizes(layers.Layer):
    """Reshapes to the sizes of its input, the batch's among them, and computes them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same")

    def call(self, x):
        count, height, width, channels = ops.shape(x)
        y = ops.reshape(self.conv(x), (count, -1, channels))
        y = ops.reshape(y, (count * 4, height * width // 4, channels))
        y = ops.relu(y)
        windows = ops.shape(y)[0]
        y = ops.reshape(y, (windows // 4, height * width, channels))
        return ops.reshape(y, (-1, height, width, channels))


class Tokens(layers.Layer):
    """A class token and positions, in the ways in which they are written."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.positions = layers.Embedding(26, 8)

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, 8), initializer="normal")
        self.dense = layers.Dense(8)

    def call(self, x):
        count = ops.shape(x)[0]
        x = ops.reshape(layers.MaxPooling2D(2)(x), (-1, 25, 8))
        token = {
            "broadcast": lambda: ops.broadcast_to(self.token, (count, 1, 8)),
            "tile": lambda: ops.tile(self.token, (count, 1, 1)),
            "repeat": lambda: ops.repeat(self.token, count, axis=0),
        }[self.kind]()
        x = ops.concatenate([token, self.dense(x)], axis=1)
        if self.kind == "tile":
            return x + self.positions(ops.expand_dims(ops.arange(26), 0))
        return x + self.positions(ops.arange(26))


class DropPath(layers.Layer):
    """Stochastic depth by hand, as everybody writes it."""

    def __init__(self, rate=0.5, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = keras.random.SeedGenerator(3)

    def call(self, x, training=None):
        if self.rate == 0.0 or not training:
            return x
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        keep = keras.random.uniform(shape, seed=self.seed) > self.rate
        return x / (1 - self.rate) * ops.cast(keep, x.dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


class EachElement(DropPath):
    """Dropout by hand: the random numbers span channels."""

    def call(self, x, training=None):
        if not training:
            return x
        return x * keras.random.binomial(ops.shape(x), 1.0, 0.5, seed=self.seed)


class Inline(layers.Layer):
    """Random numbers among the layers."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.convs = [layers.Conv2D(8, 3, padding="same") for _ in range(2)]
        self.norm = layers.BatchNormalization()
        self.seed = keras.random.SeedGenerator(3)

    def call(self, x, training=None):
        y = self.norm(self.convs[0](x), training=training)
        if training:
            y = self.dropped(y)
        return x + self.convs[1](ops.relu(y + x))

    def dropped(self, y):
        count = ops.shape(y)[0]
        if self.kind == "path":
            keep = keras.random.uniform((count, 1, 1, 1), seed=self.seed) + 0.5
            return y / 0.5 * ops.floor(keep)
        if self.kind == "noise":
            return y + 0.3 * keras.random.normal(ops.shape(y), seed=self.seed)
        if self.kind == "dropout":
            return keras.random.dropout(y, 0.4, seed=self.seed)
        return y * 2.0


class Deep(layers.Layer):
    """Blocks with stochastic depth."""

    def __init__(self, drop=DropPath, **kwargs):
        super().__init__(**kwargs)
        self.convs = [layers.Conv2D(8, 3, padding="same") for _ in range(2)]
        self.drops = [drop(), drop(0.0)]

    def call(self, x, training=None):
        for conv, drop in zip(self.convs, self.drops):
            x = x + drop(conv(x), training=training)
        return x


def swish(x):
    """An activation of the user's own."""
    return x * ops.sigmoid(1.5 * x)


def halves(x):
    return x * ops.flip(x, axis=-1)


class Conv3(layers.Conv2D):
    """A subclass that sets defaults, whose config does not make it again."""

    def __init__(self, filters, **kwargs):
        super().__init__(filters, 3, padding="same", use_bias=False, **kwargs)


class ReturnsMore(layers.Layer):
    """Returns None and numbers beside its result, which the layer around it drops."""

    def __init__(self, inner=True, **kwargs):
        super().__init__(**kwargs)
        self.conv = ReturnsMore(False) if inner else layers.Conv2D(8, 3)

    def call(self, x):
        if isinstance(self.conv, ReturnsMore):
            return self.conv(x)[0]
        return self.conv(x), None, ops.zeros((2, 3))


class Defaults(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convs = [Conv3(16, activation=swish), Conv3(8)]

    def call(self, x):
        return self.convs[1](layers.Activation(swish)(self.convs[0](x)))


def anonymous():
    x = keras.Input((12, 12, 3))
    y = layers.Lambda(lambda v: ops.relu(v) * 2.0)(layers.Conv2D(8, 3)(x))
    y = layers.Lambda(lambda v: ops.mean(v, axis=(1, 2)))(y)
    return keras.Model(x, layers.Dense(3)(y))


def each_step(*inner):
    x = keras.Input((4, 12, 12, 3))
    y = x
    for layer in [layers.Conv2D(8, 3), *inner, layers.GlobalAveragePooling2D()]:
        y = layers.TimeDistributed(layer)(y)
    y = layers.TimeDistributed(layers.Dense(64, activation="relu"))(y)
    return keras.Model(x, layers.LSTM(3)(y))


def each_step_of_a_model():
    inner = keras.Sequential(
        [
            keras.Input((10, 10, 8)),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    )
    return each_step(inner)


def tokens(kind):
    x = keras.Input((12, 12, 3))
    y = Tokens(kind)(layers.Conv2D(8, 3, name="before")(x))
    y = layers.Dense(6, activation="relu")(y)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))


def image(middle):
    x = keras.Input((12, 12, 3))
    y = layers.Conv2D(8, 3, padding="same")(x)
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(middle(y)))
    return keras.Model(x, layers.Dense(3)(y))


def twice():
    block = Stage(8)
    return image(lambda y: block(block(y)))


def structures():
    x = keras.Input((6,))
    y = layers.Dense(12)(x)
    found = Split()([y, layers.Dense(12)(x)])
    z = found["a"] + found["b"][0] * found["b"][1]
    return keras.Model(x, layers.Dense(2)(z))


def subclassed():
    model = Network()
    model(np.zeros((1, 12, 12, 3), "float32"))
    return model


def two_inputs():
    model = TwoInputs()
    model(np.zeros((2, 5), "float32"), np.zeros((2, 4), "float32"))
    return model


def inside():
    x = keras.Input((12, 12, 3))
    return keras.Model(x, layers.Softmax()(Network()(x)))


def functional_inside():
    x = keras.Input((12, 12, 3))
    y = layers.GlobalAveragePooling2D()(OverFunctional()(x))
    return keras.Model(x, layers.Dense(2)(y))


def half():
    policy = keras.dtype_policies.DTypePolicy("mixed_float16")
    return image(lambda y: Residual(8, dtype=policy)(y))


CASES = {
    "block": lambda: image(Residual(8)),
    "nested": lambda: image(Stage(8)),
    "called_twice": twice,
    "structures": structures,
    "subclassed": subclassed,
    "subclassed_with_two_arguments": two_inputs,
    "subclassed_inside": inside,
    "layers_made_in_call": lambda: image(MakesLayers()),
    "functional_inside": functional_inside,
    "other_precision": half,
    "own_weights": lambda: image(Scaled()),
    "own_weights_in_other_precision": lambda: image(
        Scaled(dtype=keras.dtype_policies.DTypePolicy("mixed_bfloat16"))
    ),
    "activations_as_functions": lambda: image(Named()),
    "sizes_of_the_batch": lambda: image(ReadsSizes()),
    "a_token_broadcast": lambda: tokens("broadcast"),
    "a_token_tiled": lambda: tokens("tile"),
    "a_token_repeated": lambda: tokens("repeat"),
    "defaults_of_stock_layers": lambda: image(Defaults()),
    "returns_more": lambda: image(ReturnsMore()),
    "lambdas": anonymous,
    "time_distributed": lambda: each_step(layers.MaxPooling2D(2)),
    "time_distributed_model": each_step_of_a_model,
    "random_paths": lambda: image(Inline("path")),
    "random_noise": lambda: image(Inline("noise")),
    "random_dropout": lambda: image(Inline("dropout")),
    "scaled_in_training": lambda: image(Inline("scale")),
    "stochastic_depth": lambda: image(Deep()),
    "dropout_by_hand": lambda: image(Deep(EachElement)),
}


def sample(model):
    rng = np.random.default_rng(0)
    if isinstance(model, TwoInputs):
        return [rng.normal(size=(3, n)).astype("float32") for n in (5, 4)]
    shape = (12, 12, 3) if isinstance(model, Network) else model.input_shape[1:]
    return rng.normal(size=(3, *shape)).astype("float32")


def shape_of(model):
    return [(5,), (4,)] if isinstance(model, TwoInputs) else None


def opened(model):
    return open_model(model, shape_of(model))


def run(model, x, training=False):
    if isinstance(model, TwoInputs):
        return model(*x, training=training)
    return model(x, training=training)


def open_weights(graph):
    found = {id(v): v for la in graph.layers for v in la.trainable_variables}
    return list(found.values())


def flat(struct):
    return [ops.convert_to_numpy(y) for y in keras.tree.flatten(struct)]


class OpenedTest(parameterized.TestCase):
    @parameterized.named_parameters(*CASES.items())
    def test_computes_what_the_model_does(self, make):
        model = make()
        models.randomize(model, 0)
        graph = opened(model)
        self.assertNotEmpty(graph.opened)
        self.assertEmpty(graph.closed)
        copy, _ = copy_graph(graph)
        x = sample(model)
        for training in (False, True):
            wanted = run(model, x, training)
            found = copy(x, training=training)
            if training and any("Stage" in o.kind for o in graph.opened):
                continue  # dropout of two generators
            for a, b in zip(flat(wanted), flat(found), strict=True):
                np.testing.assert_allclose(a, b, 2e-5, 2e-5)
        if "own_weights" in self.id():
            self.assertCountEqual(
                [id(v) for v in open_weights(graph)],
                [id(v) for v in model.trainable_variables],
            )
        before = [v for v in model.variables if "seed" not in v.path]
        after = [v for v in copy.variables if "seed" not in v.path]
        self.assertEqual(model.count_params(), copy.count_params())
        self.assertCountEqual([v.shape for v in before], [v.shape for v in after])

    @parameterized.named_parameters(*CASES.items())
    def test_is_pruned(self, make):
        model = make()
        models.randomize(model, 0)
        budget = {"params": 0.8}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruned = tf_lossprune.prune_model(
                model,
                budget,
                method="uniform",
                channel_multiple=1,
                input_shape=shape_of(model),
            )
            compact = tf_lossprune.strip_pruning(pruned)
        self.assertLessEqual(compact.count_params(), 0.8 * model.count_params())

    @parameterized.named_parameters(*CASES.items())
    def test_leaves_the_model_alone(self, make):
        model = make()
        seen = []
        for _ in range(2):
            seen.append(
                [
                    (la.name, la.path, len(la._inbound_nodes), len(la._outbound_nodes))
                    for la in model._flatten_layers()
                ]
                + [(v.path, np.array(v).tobytes()) for v in model.variables]
                + [sorted(vars(la)) for la in model._flatten_layers()]
            )
            opened(model)
        self.assertEqual(*seen)

    def test_dropout_follows_the_mode(self):
        model = image(Stage(8))
        copy, _ = copy_graph(opened(model))
        x = sample(model)
        self.assertAllDifferent(copy, x)
        self.assertIn("Dropout", [type(la).__name__ for la in copy.layers])

    def assertAllDifferent(self, model, x):
        one, two = (np.array(model(x, training=True)) for _ in range(2))
        self.assertGreater(np.abs(one - two).max(), 1e-4)

    def test_stochastic_depth_stays_and_its_channels_are_pruned(self):
        for drop, groups in ((DropPath, 2), (EachElement, 2)):
            model = image(Deep(drop))
            found = tf_lossprune.inspect_model(model, channel_multiple=1)
            self.assertLen(found.groups, groups)
            self.assertEmpty(found.opaque)
            pruned = tf_lossprune.prune_model(
                model, {"macs": 0.3}, method="uniform", channel_multiple=1
            )
            compact = tf_lossprune.strip_pruning(pruned)
            kept = [la for la in compact.layers if isinstance(la, drop)]
            self.assertNotEmpty(kept)
            self.assertLess(kept[0].output.shape[-1], 8)
            self.assertAllDifferent(compact, sample(model))

    def test_activations_of_ones_own_pass_if_they_act_on_elements(self):
        for function, groups in ((swish, 1), (halves, 0)):
            x = keras.Input((12, 12, 3))
            y = layers.Conv2D(8, 3, activation=function)(x)
            model = keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))
            found = tf_lossprune.inspect_model(model)
            self.assertLen(found.groups, groups)

    def test_the_compact_layer_of_a_subclass_is_stock(self):
        model = image(Defaults())
        pruned = tf_lossprune.prune_model(
            model, {"macs": 0.4}, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
        kinds = {type(la) for la in compact.layers}
        self.assertNotIn(Conv3, kinds)

    def test_what_was_opened_is_a_tree_with_shares(self):
        model = subclassed()
        found = tf_lossprune.inspect_model(model).opened
        self.assertEqual(
            [(o.layer, o.kind, o.depth) for o in found[:4]],
            [
                (model.name, "Network", 0),
                ("stages.low", "Stage", 1),
                ("stages.low.blocks.0", "Residual", 2),
                ("stages.low.blocks.1", "Residual", 2),
            ],
        )
        self.assertEqual(found[0].share, {"macs": 1.0, "params": 1.0})
        one, two, three = (o.share["macs"] for o in found[1:4])
        self.assertAlmostEqual(one, two + three)
        self.assertRegex(str(found[1]), "^  stages.low \\(Stage\\): .*% of macs")

    def test_names_are_paths(self):
        found = tf_lossprune.inspect_model(subclassed())
        self.assertIn("stages.low.blocks.0.conv1", [g.name for g in found.groups])
        x = keras.Input((12, 12, 3))
        y = Stage(8, name="stage")(layers.Conv2D(8, 3)(x))
        model = keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))
        names = [g.name for g in tf_lossprune.inspect_model(model).groups]
        self.assertIn("stage.blocks.1.conv1", names)
        pruned = tf_lossprune.prune_model(
            model, {"macs": 0.5}, method="uniform", exclude="blocks.0"
        )
        kept = pruned.kept_channels()
        self.assertEqual([*kept], [n for n in names if n in kept])
        self.assertNotIn("stage.blocks.0.conv1", kept)

    def test_groups_and_costs_are_those_of_the_flat_model(self):
        model = subclassed()
        copy, _ = copy_graph(opened(model))
        one, two = map(tf_lossprune.inspect_model, (model, copy))
        self.assertEqual(str(dataclasses.replace(one, opened=[])), str(two))
        self.assertEmpty(two.opened)
        self.assertEqual(tf_lossprune.cost(model), tf_lossprune.cost(copy))

    def test_the_compact_model_is_stock_and_reloads(self):
        pruned = tf_lossprune.prune_model(
            subclassed(), {"macs": 0.5}, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
        again = keras.Model.from_config(compact.get_config())
        again.set_weights(compact.get_weights())
        x = sample(subclassed())
        np.testing.assert_allclose(compact(x), again(x), 1e-5, 1e-5)


class TrainingTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (name, CASES[name])
        for name in ("block", "own_weights", "functional_inside", "layers_made_in_call")
    )
    def test_the_same_steps_lead_to_the_same_weights(self, make):
        model = make()
        models.randomize(model, 0)
        copy, _ = copy_graph(opened(model))
        x = np.random.default_rng(1).normal(size=(8, 12, 12, 3)).astype("float32")
        y = np.random.default_rng(2).normal(size=(8, model.output_shape[-1]))
        losses = []
        for one in (model, copy):
            one.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
            losses.append([float(one.train_on_batch(x, y)) for _ in range(3)])
        np.testing.assert_allclose(*losses, 1e-4)
        # In inference, with the statistics that the steps have moved.
        np.testing.assert_allclose(
            model.predict(x, verbose=0), copy.predict(x, verbose=0), 1e-4, 1e-4
        )

    def test_a_subclassed_model_learns_its_widths_in_fit(self):
        model = subclassed()
        dense = copy_graph(opened(model))[0]
        x = np.random.default_rng(1).normal(size=(64, 12, 12, 3)).astype("float32")
        y = np.arange(64) % 4
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, channel_multiple=1)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        pruned.compile("adam", loss, jit_compile=keras.backend.backend() == "jax")
        pruned.fit(x, y, batch_size=8, epochs=3, verbose=0)
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertLess(compact.count_params(), model.count_params())
        if keras.backend.backend() == "tensorflow":
            self.assertLessEqual(judge.macs(compact), 0.5 * judge.macs(dense))

    @parameterized.parameters("layer", "model")
    def test_a_frozen_backbone_in_inference_mode(self, kind):
        model = self.transfer(kind, frozen=True)
        x = sample(model)
        copy, _ = copy_graph(opened(model))
        for training in (False, True):
            np.testing.assert_allclose(
                model(x, training=training), copy(x, training=training), 1e-5, 1e-5
            )
        self.assertNotIn("Dropout", [type(la).__name__ for la in copy.layers])

    @parameterized.parameters("layer", "model")
    def test_inference_mode_that_would_be_overridden(self, kind):
        with self.assertRaisesRegex(TypeError, "training=False.*freeze"):
            opened(self.transfer(kind, frozen=False))

    def transfer(self, kind, frozen):
        backbone = Backbone()
        if kind == "model":
            x = keras.Input((12, 12, 3))
            backbone = keras.Model(x, backbone.features(x))
        model = Transfer(backbone)
        model(np.zeros((1, 12, 12, 3), "float32"))
        models.randomize(model, 0)
        backbone.trainable = not frozen
        return model


class Backbone(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv, self.norm = layers.Conv2D(8, 3), layers.BatchNormalization()
        self.dropout = layers.Dropout(0.5)

    def features(self, x, training=None):
        y = self.norm(self.conv(x), training=training)
        return self.dropout(y, training=training)

    call = features


class Transfer(Network):
    """A backbone that stays in inference mode."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.conv = backbone, layers.Conv2D(8, 3, activation="relu")

    def call(self, x):
        return self.head(self.pool(self.conv(self.backbone(x, training=False))))


class OwnWeightsTest(parameterized.TestCase):
    def test_they_are_cut_with_the_channels(self):
        model = image(Scaled(name="scaled"))
        models.randomize(model, 0)
        pruned = tf_lossprune.prune_model(
            model, {"params": 0.4}, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
        width = compact.get_layer("scaled.conv").filters
        self.assertLess(width, 8)
        self.assertEqual(compact.get_layer("scaled.gamma").weight.shape, (width,))
        table = compact.get_layer("scaled.table").weight
        self.assertEqual(table.shape, (1, 12, 12, width))
        again = keras.Model.from_config(compact.get_config())
        again.set_weights(compact.get_weights())
        x = sample(model)
        np.testing.assert_allclose(compact(x), again(x), 1e-5, 1e-5)


class Drops(layers.Layer):
    """Random numbers in inference too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same")
        self.seed = keras.random.SeedGenerator(3)

    def call(self, x, training=None):
        y = self.conv(x)
        return x + y * keras.random.binomial((1, 1, 1, 1), 1.0, 0.5, seed=self.seed)


class Unseeded(Drops):
    def call(self, x, training=None):
        y = self.conv(x)
        return y * keras.random.uniform((8,)) if training else y


class Auxiliary(Drops):
    """Other code in training."""

    def call(self, x, training=None):
        y = self.conv(x)
        return ops.relu(y) if training else ops.tanh(y)


class Counts(Drops):
    """Its counter is an attribute of something else."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        count = keras.Variable(0.0, trainable=False)
        self.counters = [lambda: count]

    def call(self, x):
        self.counters[0]().assign(1.0)
        return self.conv(x)


class Raw(Drops):
    """An operation of the backend's own."""

    def call(self, x):
        y = self.conv(x)
        return self.raw(y)

    def raw(self, y):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.nn.relu(y)
        import jax

        return jax.nn.relu(y)


class BakesIn(Drops):
    """Computes with a weight that it does not own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        table = keras.Variable(np.ones(8, "float32"))
        self.read = [lambda: table]

    def call(self, x):
        return self.conv(x) * ops.exp(self.read[0]())


class Swallows(Drops):
    """Catches the error."""

    def call(self, x):
        y = self.conv(x)
        try:
            self.seed.state.assign(self.seed.state + 1)
        except Exception:
            pass
        return y


class OwnSpec(Drops):
    """Says itself what comes out, and calls layers for that."""

    def compute_output_spec(self, x, training=None):
        return self.conv(x)

    call = Raw.call
    raw = Raw.raw


class LooksAtItsInput(layers.Layer):
    """Computes something else on symbolic tensors."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(8, 3, padding="same")

    def call(self, x):
        y = self.conv(x)
        return ops.relu(y) if isinstance(y, keras.KerasTensor) else ops.tanh(y)


CLOSED = {
    "random_numbers_in_inference": (Drops, "random numbers in inference"),
    "random_numbers_of_nobody": (Unseeded, "without a `SeedGenerator`"),
    "other_code_in_training": (Auxiliary, "takes another path"),
    "a_counter_that_no_layer_holds": (Counts, "it changes"),
    "a_raw_operation": (Raw, "symbolic tensors"),
    "a_baked_in_value": (BakesIn, "value"),
    "a_swallowed_error": (Swallows, "computes with the value"),
    "its_own_spec": (OwnSpec, "symbolic tensors"),
}


class Siblings(layers.Layer):
    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.before, self.inner = Residual(8), inner
        self.after = Residual(8)

    def call(self, x):
        return self.after(self.inner(self.before(x)))


def reloaded(pruned, kind):
    with keras.saving.CustomObjectScope({kind.__name__: kind}):
        return pruned.from_config(pruned.get_config())


class ClosedTest(parameterized.TestCase):
    @parameterized.named_parameters(*((k, *v) for k, v in CLOSED.items()))
    def test_one_layer_stays_and_its_siblings_are_opened(self, kind, reason):
        model = image(Siblings(kind()))
        models.randomize(model, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = opened(model)
            self.assertLen(graph.closed, 1, graph.closed)
            (why,) = graph.closed.values()
            self.assertIn(reason, why)
            self.assertLen(graph.opened, 3)
            found = tf_lossprune.inspect_model(model)
            self.assertIn("macs", found.cost)
            self.assertIn(f"no rule for {kind.__name__}, and i", str(found))
            self.assertIn("siblings", found.groups[1].name)
            pruned = tf_lossprune.prune_model(
                model, {"params": 0.8}, method="uniform", channel_multiple=1
            )
            compact = tf_lossprune.strip_pruning(pruned)
            for one in [pruned, *([reloaded(pruned, kind)] if kind is Raw else [])]:
                reasons = " ".join(why for _, why in one.channel_graph.frozen)
                self.assertIn(f"no rule for {kind.__name__}, and i", reasons)
        self.assertLessEqual(compact.count_params(), 0.8 * model.count_params())
        x = sample(model)
        copy, _ = copy_graph(graph)
        np.testing.assert_allclose(model(x), copy(x), 2e-5, 2e-5)
        self.assertEqual(len(model.losses), len(copy.losses))

    def test_what_computes_something_else_when_opened_stays_closed(self):
        model = image(Siblings(LooksAtItsInput()))
        models.randomize(model, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pruned = tf_lossprune.prune_model(
                model, {"params": 0.8}, method="uniform", channel_multiple=1
            )
        reasons = " ".join(why for _, why in pruned.channel_graph.frozen)
        self.assertIn("LooksAtItsInput, and opened, it computes", reasons)
        self.assertTrue(any("siblings" in group.name for group in pruned.groups))

    def test_a_subclassed_model_that_stays_closed_is_an_error_with_the_reason(self):
        class Bad(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = layers.Dense(3)

            def call(self, x, training=None):
                return self.dense(x) * (2 if training else 1) + ops.relu(x) * 0.0

        class Worse(Bad):
            def call(self, x, training=None):
                y = self.dense(x)
                return ops.relu(y) if training else ops.tanh(y)

        model = Worse()
        model(np.zeros((1, 3), "float32"))
        with self.assertRaisesRegex(TypeError, "another path.*Received: Worse"):
            tf_lossprune.prune_model(model, {"macs": 0.5})

    def test_an_unbuilt_model_says_how_to_build_it(self):
        with self.assertRaisesRegex(ValueError, "Call it once.*input_shape=.*Received"):
            tf_lossprune.prune_model(Network(), {"macs": 0.5})
        found = tf_lossprune.inspect_model(Network(), input_shape=(12, 12, 3))
        self.assertEqual(found.cost, tf_lossprune.cost(subclassed()))


if __name__ == "__main__":
    unittest.main()
