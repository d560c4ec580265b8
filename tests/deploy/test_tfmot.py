"""Training in Keras 2 for int8 and for clustered weights; and the process around it."""

import ast
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import layers

import tf_lossprune
from examples import models
from tf_lossprune import deploy

pytest.importorskip("ai_edge_litert")
tf_keras = pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

ROOT = pathlib.Path(__file__).resolve().parents[2]


def python(code):
    """Runs code in a process of its own, where Keras 2 has not been chosen."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def small(width=6):
    """A residual network with everything that a convolution is followed by."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.Conv2D(width, 1, name="project")(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return models.randomize(keras.Model(inputs, layers.Dense(4, name="head")(x)))


def images(model, count=64):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def relative_error(expected, actual):
    expected, actual = np.asarray(expected), np.asarray(actual)
    return np.abs(expected - actual).max() / np.abs(expected).max()


def dtypes(path):
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(path)).get_tensor_details()
    return {np.dtype(detail["dtype"]).name for detail in details}


#: Prunes and compares; then nothing of Keras 2 may have been imported.
ORDINARY_USE = """
import os, sys, keras, numpy as np, tf_lossprune, tensorflow as tf
from tf_lossprune import deploy, report

x = keras.Input((4,))
h = keras.layers.Dense(8, activation="relu")(x)
model = keras.Model(x, keras.layers.Dense(2)(h))
pruned = tf_lossprune.prune_model(
    model, {"macs": 0.5}, method="uniform", channel_multiple=1)
compact = tf_lossprune.strip_pruning(pruned)
data = np.eye(4, dtype="float32"), np.array([0, 1, 0, 1])
tf_lossprune.compare(model, compact, data, rounds=1)
for module in ("tensorflow_model_optimization", "tf_keras"):
    assert module not in sys.modules, module
assert os.environ.get("TF_USE_LEGACY_KERAS") == variable
"""
#: Asks for what needs Keras 2.
CLUSTERING = """
import keras, os, sys
from tf_lossprune import deploy

x = keras.Input((4,))
model = keras.Model(x, keras.layers.Dense(2)(x))
learner = deploy.cluster_weights(model, 2)
import tf_keras
assert isinstance(learner, tf_keras.Model)
assert "tensorflow_model_optimization" in sys.modules
"""
#: What has to hold before that and afterwards.
KERAS_3 = """
import keras, os, tensorflow as tf
assert os.environ.get("TF_USE_LEGACY_KERAS") == variable
for home in (tf, tf.compat.v1, tf.compat.v2):
    assert home.keras.layers.Dense is keras.layers.Dense, home
assert tf.keras.__version__ == keras.__version__
"""


class ProcessTest(parameterized.TestCase):
    def test_tf_keras_stays_keras_3(self):
        python("variable = None" + ORDINARY_USE + KERAS_3 + CLUSTERING + KERAS_3)

    @parameterized.parameters(None, "0")
    @pytest.mark.long
    def test_also_if_nothing_has_used_it_before(self, variable):
        choose = f"import os\nvariable = {variable!r}\n"
        if variable is not None:
            choose += f"os.environ['TF_USE_LEGACY_KERAS'] = {variable!r}\n"
        python(choose + CLUSTERING + KERAS_3)

    @pytest.mark.long
    def test_a_program_that_chose_keras_2_keeps_it(self):
        python(
            "import os\n"
            "os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
            "import tensorflow as tf\n"
            "import keras, tf_keras, tf_lossprune\n"
            "inputs = tf.keras.Input((4,))\n"
            "old = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(inputs))\n"
            "model = tf_lossprune.deploy.from_tf_keras(old)\n"
            "assert isinstance(model, keras.Model)\n"
            "tf_lossprune.deploy.cluster_weights(model, 2)\n"
            "assert tf.keras.layers.Dense is tf_keras.layers.Dense\n"
            "assert os.environ['TF_USE_LEGACY_KERAS'] == '1'\n"
        )

    def test_only_one_file_imports_keras_2(self):
        found = set()
        for path in (ROOT / "tf_lossprune").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in getattr(node, "names", ())]
                modules = {name.split(".")[0] for name in (*names, _module(node))}
                if modules & {"tf_keras", "tensorflow_model_optimization"}:
                    if isinstance(node, (ast.Import, ast.ImportFrom)):
                        found.add(path.name)
        self.assertEqual(found, {"tfmot.py"})


def _module(node):
    return getattr(node, "module", None) or ""


class QuantizeAwareTest(parameterized.TestCase):
    def test_the_file_computes_what_was_trained(self):
        model = small()
        before = model.get_weights()
        x = images(model)
        learner = deploy.quantize_aware(model, x)
        self.assertIsInstance(learner, tf_keras.Model)
        self.assertLess(relative_error(model(x), learner(x, training=False)), 0.05)
        learner.compile(
            tf_keras.optimizers.SGD(1e-3),
            tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        learner.fit(x, np.arange(64) % 4, batch_size=32, verbose=0)
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path = deploy.quantized_to_litert(learner, folder / "new" / "int8.tflite")
        self.assertEqual(path, str(folder / "new" / "int8.tflite"))
        self.assertEqual(dtypes(path), {"int8", "int32"})
        trained = learner(x, training=False)
        self.assertLess(relative_error(trained, deploy.run_litert(path, x)), 0.05)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.long
    def test_floats_in_and_out(self):
        inputs = keras.Input((6,))
        model = models.randomize(keras.Model(inputs, layers.Dense(3)(inputs)))
        x = images(model)
        learner = deploy.quantize_aware(model, x)
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path = deploy.quantized_to_litert(
            learner, folder / "model.tflite", "int8_fp32_io"
        )
        self.assertEqual(dtypes(path), {"int8", "int32", "float32"})
        self.assertLess(relative_error(model(x), deploy.run_litert(path, x)), 0.05)

    @pytest.mark.long
    def test_batch_normalisations_that_stand_alone(self):
        """Before the convolution, twice behind a sum, and behind an activation."""
        inputs = keras.Input((6, 6, 4))
        x = layers.BatchNormalization(name="first", scale=False)(inputs)
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = layers.BatchNormalization(name="behind_relu")(x)
        y = layers.Add()([x, layers.Conv2D(4, 1)(x)])
        y = layers.Concatenate()(
            [
                layers.BatchNormalization(name="one", center=False)(y),
                layers.BatchNormalization(name="two")(y),
            ]
        )
        x = layers.Conv2D(3, 1)(y)
        x = layers.BatchNormalization(name="absorbed")(x)
        model = models.randomize(keras.Model(inputs, layers.Flatten()(x)))
        x = images(model)
        learner = deploy.quantize_aware(model, x)
        kinds = {x.name: type(x.layer).__name__ for x in learner.layers[2:]}
        for name in ("first", "behind_relu", "one", "two"):
            self.assertEqual(kinds[f"quant_{name}"], "DepthwiseConv2D")
        self.assertEqual(kinds["quant_absorbed"], "BatchNormalization")
        self.assertLess(relative_error(model(x), learner(x, training=False)), 0.1)

    def test_layers_without_an_int8_form_are_named(self):
        inputs = keras.Input((8, 3))
        x = layers.LSTM(4, return_sequences=True, name="rnn")(inputs)
        x = layers.LayerNormalization(name="norm")(x)
        model = keras.Model(inputs, layers.Dense(2, activation="elu", name="last")(x))
        with pytest.raises(ValueError, match="Received: .*'rnn'.*'norm'.*'last'"):
            deploy.quantize_aware(model, np.zeros((2, 8, 3)))
        inputs = keras.Input((8,))
        x = layers.BatchNormalization(name="alone")(inputs)
        with pytest.raises(ValueError, match="int8 form.*Received: .*alone"):
            deploy.quantize_aware(
                keras.Model(inputs, layers.Dense(2)(x)), np.zeros((2, 8))
            )

    def test_wrong_calls(self):
        model = small()
        with pytest.raises(TypeError, match="Received: builtins.str"):
            deploy.quantize_aware("model.keras", None)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.9}, method="uniform")
        with pytest.raises(ValueError, match="strip_pruning.*Received: "):
            deploy.quantize_aware(pruned, None)
        for data in (None, np.zeros((3, 9, 8, 3)), np.zeros((0, 8, 8, 3))):
            with pytest.raises(ValueError, match="representative_data.*Received: "):
                deploy.quantize_aware(model, data)
        with pytest.raises(TypeError, match="`quantize_aware`. Received: "):
            deploy.quantized_to_litert(model, "model.tflite")
        with pytest.raises(ValueError, match="'int8_fp32_io'.*Received: 'fp16'"):
            deploy.quantized_to_litert(model, "model.tflite", "fp16")
        with pytest.raises(ValueError, match="ending in .tflite. Received: "):
            deploy.quantized_to_litert(model, "model.keras")

    @parameterized.parameters(
        "digits_resnet", "mobilenet_v1", "squeeze_excite_net", "densenet_small"
    )
    @pytest.mark.long
    def test_compact_networks(self, name):
        model = models.build(name, input_shape=(16, 16, 3), width=8)
        models.randomize(model)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)
        x = images(compact)
        learner = deploy.quantize_aware(compact, x)
        self.assertLess(relative_error(compact(x), learner(x, training=False)), 0.2)
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path = deploy.quantized_to_litert(learner, folder / "model.tflite")
        self.assertEqual(dtypes(path), {"int8", "int32"})
        trained = learner(x, training=False)
        self.assertLess(relative_error(trained, deploy.run_litert(path, x)), 0.1)


class ClusterTest(parameterized.TestCase):
    def test_few_weights_come_back_to_keras_3(self):
        model = small(width=12)
        before = model.get_weights()
        learner = deploy.cluster_weights(model, 4)
        self.assertIsInstance(learner, tf_keras.Model)
        x = images(model)
        learner.compile("sgd", "mse")
        learner.fit(x, np.zeros((64, 4)), batch_size=32, verbose=0)
        clustered = deploy.strip_clustering(learner)
        self.assertIsInstance(clustered, keras.Model)
        self.assertEqual(
            [layer.name for layer in clustered.layers],
            [layer.name for layer in model.layers],
        )
        expected = learner(x, training=False)
        self.assertLess(relative_error(expected, clustered(x)), 1e-4)
        for name in ("stem", "project", "head"):
            kernel = np.asarray(clustered.get_layer(name).kernel)
            self.assertLessEqual(len(np.unique(kernel)), 4)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_centroids_move_as_slowly_as_weights(self):
        """By the mean of their weights' gradients; by the sum, training diverges."""
        inputs = keras.Input((64,))
        outputs = layers.Dense(1, use_bias=False, activation="softplus")(inputs)
        model = models.randomize(keras.Model(inputs, outputs))
        learner = deploy.cluster_weights(model, 2)
        x, y = np.ones((8, 64), "float32"), np.full((8, 1), -1.0, "float32")
        learner.compile(tf_keras.optimizers.SGD(1e-3), "mean_absolute_error")
        (centroids,) = (w for w in learner.weights if "centroids" in w.name)
        before = centroids.numpy()
        learner.fit(x, y, batch_size=8, verbose=0)
        moved = np.abs(centroids.numpy() - before).max()
        self.assertGreater(moved, 0.0)
        # The gradient by a weight is at most 1: softplus and inputs of one.
        self.assertLessEqual(moved, 1.001e-3)

    def test_wrong_calls(self):
        model = small()
        for count, error in ((1, ValueError), (2.5, TypeError), (None, TypeError)):
            with pytest.raises(error, match="number_of_clusters.*Received: "):
                deploy.cluster_weights(model, count)
        with pytest.raises(TypeError, match="Received: builtins.NoneType"):
            deploy.cluster_weights(None)
        model.get_layer("stem").trainable = False
        with pytest.raises(ValueError, match="can be clustered.*Received: .*stem"):
            deploy.cluster_weights(model)
        with pytest.raises(TypeError, match="`cluster_weights`. Received: "):
            deploy.strip_clustering(model)
        with pytest.raises(TypeError, match="`cluster_weights`. Received: "):
            deploy.strip_clustering(None)

    def test_wrappers_have_to_come_off_first(self):
        learner = deploy.cluster_weights(small(), 4)
        with pytest.raises(ValueError, match="removed first.*Received: "):
            tf_lossprune.deploy.from_tf_keras(learner)
