"""The budget is a promise: random models, budgets, multiples and exclusions.

What is delivered is never counted by what chose the widths: MACs are counted in the
LiteRT file, parameters by Keras, and memory is what LiteRT's planner takes.
"""

import os
import random
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import layers

import tf_lossprune
from examples import models
from tests import judge
from tests.graph.random_graphs import random_graph
from tf_lossprune.allocation import choose_units
from tf_lossprune.deploy import arena_bytes, convert_to_measure, to_litert
from tf_lossprune.graph import analyze
from tf_lossprune.resources import PeakMemory, SizeBytes
from tf_lossprune.surgery import cut

makes_files = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="LiteRT takes TensorFlow"
)
NAMES = ("macs", "params", "peak_memory_bytes")
BUILDERS = [
    models.digits_resnet,
    lambda: models.build("mobilenet_v1", width=8),
    lambda: models.build("squeeze_excite_net"),
    lambda: models.build("resnet20", width=8),
]
#: Those and random graphs; in the short target and in the long one.
CASES = (0, 7)
MORE_CASES = (1, 2, 3, 4, 5, 6)


def costs_of(model, folder):
    """Every resource of a model, counted by others."""
    path = convert_to_measure(model, os.path.join(folder, "model.tflite"), "fp32")
    return {
        "macs": judge.macs(path),
        "params": model.count_params(),
        "peak_memory_bytes": arena_bytes(path),
    }


def random_options(rng, model):
    producers = sorted({g.producers[0] for g in analyze(model).groups})
    excluded = rng.sample(producers, rng.choice([0, 0, 1, 2]) % len(producers))
    return {
        "channel_multiple": rng.choice([1, 1, 2, 3, 4, "auto"]),
        "min_channels": rng.choice([1, 1, 2, 3]),
        "exclude": [f"^{name}$" for name in excluded] or None,
    }


@makes_files
class GuaranteeTest(parameterized.TestCase):
    @parameterized.parameters(*CASES)
    def test_every_budget_holds_and_none_is_left_unused(self, seed):
        self.check_case(seed)

    @parameterized.parameters(*MORE_CASES)
    @pytest.mark.long
    def test_every_budget_holds_in_more_cases(self, seed):
        self.check_case(seed)

    def check_case(self, seed):
        rng = random.Random(seed)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        if seed < len(BUILDERS):
            model = BUILDERS[seed]()
            models.randomize(model, seed)
            dense = costs_of(model, self.folder)
        else:
            model, dense = self.random_model(rng, seed)
        self.check(rng, model, dense)

    def random_model(self, rng, seed):
        """A random graph that has a file at all, and what it costs."""
        while True:
            model = random_graph(rng, 12)
            if not analyze(model).groups:
                continue
            models.randomize(model, seed)
            try:
                judge.convert(model)
            except judge.ConversionError:
                continue
            return model, costs_of(model, self.folder)

    def check(self, rng, model, dense):
        options = random_options(rng, model)
        try:
            seen = tf_lossprune.prune_model(
                model, {"macs": 1.0}, method="uniform", **options
            )
        except ValueError as error:  # everything that could go is excluded
            self.assertIn("every channel is frozen", str(error))
            return
        budget = {}
        for name in rng.sample(NAMES, rng.choice([1, 1, 2, 3])):
            least = self.smallest(seen)[name] / dense[name]
            budget[name] = min(1.0, least + rng.random() * (1.0 - least) + 1e-9)
        pruned = tf_lossprune.prune_model(
            model, budget, method=rng.choice(["uniform", "magnitude"]), **options
        )
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        delivered = costs_of(compact, self.folder)
        for name, share in budget.items():
            self.assertLessEqual(delivered[name], share * dense[name] * (1 + 1e-12))
        if "peak_memory_bytes" not in budget:  # what fits is measured there
            self.assert_nothing_more_fits(pruned)

    def smallest(self, pruned):
        """Every resource of the network with the fewest channels."""
        graph, widths = pruned.channel_graph, pruned.problem.smallest
        keep = choose_units(np.ones(graph.num_units + 1), graph.groups, widths)
        return costs_of(cut(graph, keep), self.folder)

    def assert_nothing_more_fits(self, pruned):
        widths = np.array([kept for kept, _ in pruned.kept_channels().values()])
        sizes = np.array([group.size for group in pruned.groups])
        steps = pruned.problem.steps
        for k in np.flatnonzero(widths < sizes):
            larger = widths.copy()
            larger[k] = min((widths[k] // steps[k] + 1) * steps[k], sizes[k])
            fits = [
                pruned.costs[name].total(larger) <= share * pruned.costs[name].dense
                for name, share in pruned.shares.items()
            ]
            self.assertFalse(all(fits), f"{pruned.groups[k].name} could be wider")


def key_word_ds_cnn():
    inputs = keras.Input((49, 10, 1))
    x = normalized(layers.Conv2D(64, (10, 4), 2, padding="same")(inputs))
    for _ in range(4):
        x = normalized(layers.DepthwiseConv2D(3, padding="same")(x))
        x = normalized(layers.Conv2D(64, 1)(x))
    x = layers.Flatten()(layers.AveragePooling2D((25, 5))(x))
    return keras.Model(inputs, layers.Dense(12, activation="softmax")(x))


def normalized(x):
    return layers.ReLU()(layers.BatchNormalization()(x))


def resnet_8():
    inputs = keras.Input((32, 32, 3))
    x = normalized(layers.Conv2D(16, 3, padding="same")(inputs))
    for width in (16, 32, 64):
        stride = 1 if width == 16 else 2
        y = normalized(layers.Conv2D(width, 3, stride, padding="same")(x))
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(y))
        if stride == 2:
            x = layers.Conv2D(width, 1, 2, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def visual_wake_words():
    """MobileNetV1 0.25 at 96 x 96."""
    inputs = keras.Input((96, 96, 3))
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(inputs)
    x = normalized(x)
    for width, stride in zip(
        (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256),
        (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1),
    ):
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x)
        x = normalized(x)
        x = normalized(layers.Conv2D(width, 1, use_bias=False)(x))
    x = layers.Flatten()(layers.AveragePooling2D(3)(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


@makes_files
@pytest.mark.parametrize(
    ("build", "share"),
    [
        pytest.param(key_word_ds_cnn, 1 / 2, marks=pytest.mark.long),
        pytest.param(key_word_ds_cnn, 1 / 3, marks=pytest.mark.long),
        pytest.param(resnet_8, 1 / 2, marks=pytest.mark.long),
        pytest.param(resnet_8, 1 / 3, marks=pytest.mark.long),
        # A third of its memory is the image.
        pytest.param(visual_wake_words, 1 / 2, marks=pytest.mark.long),
    ],
)
def test_int8_files_of_mlperf_tiny(build, share, tmp_path):
    model = build()
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "variance" in variable.path or "gamma" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif "moving_mean" in variable.path or "b" in variable.name[:1]:
            variable.assign(0.1 * rng.normal(size=variable.shape))
    x = rng.random((4, *model.input_shape[1:])).astype("float32")
    dense = to_litert(model, tmp_path / "dense.tflite", "int8", x)
    budget = tf_lossprune.Budget(
        {"size_bytes": share, "peak_memory_bytes": share},
        resources=[SizeBytes("int8"), PeakMemory("int8")],
    )
    pruned = tf_lossprune.prune_model(
        model, budget, method="uniform", channel_multiple=1
    )
    compact = tf_lossprune.strip_pruning(pruned)
    path = to_litert(compact, tmp_path / "compact.tflite", "int8", x)
    used = [
        measure(path) / measure(dense) / share
        for measure in (os.path.getsize, arena_bytes)
    ]
    assert max(used) <= 1.0
    assert max(used) > 0.9
