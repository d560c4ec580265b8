"""The registry of rules, and that it forgets no layer."""

import inspect
import pathlib
import pkgutil

import keras
from absl.testing import parameterized

import tf_lossprune
from tf_lossprune.graph import analyze
from tf_lossprune.graph.rules import all_rules, find_rule
from tf_lossprune.report.layers import supported_layers

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "supported_layers.md"


def stock_layers():
    found = {v for v in vars(keras.layers).values() if inspect.isclass(v)}
    found = {v for v in found if issubclass(v, keras.layers.Layer)}
    return sorted(found - {keras.layers.Layer}, key=lambda v: v.__name__)


def operation_names():
    import keras.src.ops as source

    for module in pkgutil.iter_modules(source.__path__):
        if not module.name.endswith("_test"):
            content = vars(__import__(f"keras.src.ops.{module.name}", fromlist=["x"]))
            yield from (k for k, v in content.items() if inspect.isclass(v))


class Scale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], name="scale")

    def call(self, x):
        return x * self.scale


def scale_rule(context, layer):
    channels = context.channels()
    if channels is None:
        context.output(0)
        return
    context.weight("scale", {0: channels})
    context.output(context.input_labels[0])


def forgetful_rule(context, layer):
    context.weight("scale", {0: context.channels()[::-1]})
    context.output(context.input_labels[0])


class RulesTest(parameterized.TestCase):
    def test_every_stock_layer_has_a_rule(self):
        rules = all_rules()
        self.assertEmpty([c.__name__ for c in stock_layers() if c not in rules])

    def test_every_named_operation_exists(self):
        names = {key for key in all_rules() if isinstance(key, str)}
        self.assertEmpty(names - {*operation_names(), "Mish", "ReLU"})  # activations

    def test_page_is_up_to_date(self):
        written = PAGE.read_text().splitlines()
        # An older Keras lacks some layers: what it has must be there.
        self.assertContainsSubset(supported_layers().splitlines(), written)

    def test_a_subclass_needs_its_own_rule(self):
        class Other(keras.layers.Conv2D):
            def call(self, x):
                return super().call(x)[..., ::-1]

        self.assertIsNone(find_rule(Other(2, 3)))
        inputs = keras.Input((6, 6, 2))
        x = keras.layers.Conv2D(4, 3, name="a")(inputs)
        channels = analyze(keras.Model(inputs, Other(2, 3)(x)))
        self.assertEmpty(channels.groups)
        self.assertIn("no rule for Other", dict(channels.frozen)["a"])

    @parameterized.parameters(((8, 8, 6),), ((6,),))
    def test_users_rule(self, shape):
        class Mine(Scale):
            pass

        tf_lossprune.rules.register_rule(Mine)(scale_rule)
        groups = tf_lossprune.testing.check_rule(Mine(), shape)
        self.assertEqual([(g.name, g.size) for g in groups], [("made", 6)])
        self.assertLen(groups[0].through, 1)

    def test_wrong_rule_is_found(self):
        class Wrong(Scale):
            pass

        tf_lossprune.rules.register_rule(Wrong)(forgetful_rule)
        with self.assertRaisesRegex(RuntimeError, "rule is wrong.*Received"):
            tf_lossprune.testing.check_rule(Wrong(), (8, 8, 6))

    def test_bad_registrations(self):
        with self.assertRaisesRegex(TypeError, "layer class.*Received"):
            tf_lossprune.rules.register_rule(Scale())
        with self.assertRaisesRegex(ValueError, "effect.*Received"):
            tf_lossprune.rules.register_rule(Scale, effect="eats")
        with self.assertRaisesRegex(TypeError, "register_rule.*Received"):
            tf_lossprune.testing.check_rule(Scale(), (4,))

    def test_new_channels_by_a_users_rule(self):
        class Projection(keras.layers.Layer):
            def __init__(self, units, **kwargs):
                super().__init__(**kwargs)
                self.units = units

            def build(self, shape):
                self.matrix = self.add_weight(shape=(self.units, shape[-1]))

            def call(self, x):
                return keras.ops.matmul(x, keras.ops.transpose(self.matrix))

            def get_config(self):
                return {**super().get_config(), "units": self.units}

        @tf_lossprune.rules.register_rule(Projection, effect="prunes")
        def projection(context, layer):
            out = context.fresh(layer.units)
            axes = {0: out, 1: context.channels()}
            context.weight("matrix", axes, context.output_positions())
            context.gate("matrix", 1)
            context.config("units", out)
            context.output(out)

        groups = tf_lossprune.testing.check_rule(Projection(5, name="mine"), (4, 6))
        self.assertEqual([(g.name, g.size) for g in groups], [("made", 6), ("mine", 5)])
