"""The main job on many architectures: exact, on budget, argument untouched."""

import itertools
import shutil
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest
from absl.testing import parameterized

import tf_lossprune
from examples import models

ARCHES = {
    "resnet20": {"width": 8},
    "vgg16_bn": {"width": 8},
    "mobilenet_v1": {"width": 8},
    "mobilenet_v2": {"width": 8},
    "densenet_small": {},
    "squeeze_excite_net": {},
}
METHODS, SHARES = ("uniform", "magnitude", "loss"), (0.5, 0.2)
#: In the short target; the others are in the long one.
SHORT = [
    ("resnet20", "loss", 0.2),
    ("vgg16_bn", "magnitude", 0.5),
    ("mobilenet_v1", "magnitude", 0.5),
    ("mobilenet_v2", "loss", 0.2),
    ("densenet_small", "loss", 0.2),
    ("squeeze_excite_net", "magnitude", 0.5),
]


def randomized(arch):
    model = models.build(arch, **ARCHES[arch])
    models.randomize(model, seed=3)
    return model


def sample(model, count=4, seed=0):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def relative(a, b):
    a, b = np.array(a, np.float64), np.array(b, np.float64)
    return np.abs(a - b).max() / np.abs(a).max()


class PruneTest(parameterized.TestCase):
    @parameterized.parameters(*SHORT)
    def test_compact_equals_gated_and_keeps_the_budget(self, arch, method, share):
        self.check_arch(arch, method, share)

    @parameterized.parameters(
        *sorted(set(itertools.product(ARCHES, METHODS, SHARES)) - set(SHORT))
    )
    @pytest.mark.long
    def test_compact_equals_gated_and_keeps_other_budgets(self, arch, method, share):
        self.check_arch(arch, method, share)

    def check_arch(self, arch, method, share):
        model = randomized(arch)
        pruned = tf_lossprune.prune_model(
            model, {"macs": share}, method=method, channel_multiple=1
        )
        x = sample(model)
        if method == "loss":  # ratios of one
            self.assertLess(relative(model(x), pruned(x, training=False)), 1e-5)
        compact = tf_lossprune.strip_pruning(pruned)
        expected = pruned(x, training=False)
        self.assertLess(relative(expected, compact(x, training=False)), 1e-4)
        used = tf_lossprune.cost(compact)["macs"] / tf_lossprune.cost(model)["macs"]
        self.assertLessEqual(used, share)
        self.assertGreaterEqual(used, 0.97 * share)
        self.assertEqual(pruned.cost(), tf_lossprune.cost(compact))
        self.assertEqual(tf_lossprune.cost(compact)["params"], compact.count_params())
        for layer in compact.layers:
            self.assertTrue(type(layer).__module__.startswith("keras."))

    @parameterized.parameters("squeeze_excite_net", "mobilenet_v2")
    def test_a_budget_of_all_equals_the_original(self, arch):
        model = randomized(arch)
        x = sample(model)
        full = tf_lossprune.prune_model(model, {"macs": 1.0}, method="uniform")
        compact = tf_lossprune.strip_pruning(full)
        self.assertLess(relative(model(x), compact(x)), 1e-5)
        self.assertEqual(compact.count_params(), model.count_params())

    def test_argument_is_untouched(self):
        model = models.randomize(models.digits_resnet(width=4), seed=3)
        model.compile("sgd", "mse")
        config, weights = model.get_config(), model.get_weights()
        nodes = [len(layer._inbound_nodes) for layer in model.layers]
        x = sample(model)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.3}, method="uniform")
        pruned.compile(
            "sgd",
            keras.losses.SparseCategoricalCrossentropy(True),
            jit_compile=False,
        )
        pruned.fit(x, np.zeros(len(x), int), verbose=0)
        self.assertEqual(model.get_config(), config)
        for a, b in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(a, b)
        self.assertEqual(nodes, [len(layer._inbound_nodes) for layer in model.layers])

    def test_training_either_copy_leaves_the_others(self):
        self.check_copies(jit_compile=True)

    @pytest.mark.long
    def test_training_either_copy_without_xla_leaves_the_others(self):
        self.check_copies(jit_compile=False)

    def check_copies(self, jit_compile):
        """They may share memory until one is written."""
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(8, 3, use_bias=False)(inputs)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        models.randomize(model, seed=3)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.7}, method="uniform")
        compact = tf_lossprune.strip_pruning(pruned)
        copies = [model, pruned, compact]
        x, y = sample(model), np.arange(4) % 3
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        for trained in copies:
            before = [m.get_weights() for m in copies]
            trained.compile(
                keras.optimizers.SGD(0.1, momentum=0.9), loss, jit_compile=jit_compile
            )
            trained.fit(x, y, epochs=2, verbose=0)
            for other, old in zip(copies, before, strict=True):
                new = other.get_weights()
                same = all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
                assert same == (other is not trained)

    def test_two_budgets(self):
        model = randomized("resnet20")
        budget = {"macs": 0.6, "params": 0.3}
        pruned = tf_lossprune.prune_model(model, budget, method="uniform")
        compact = tf_lossprune.cost(tf_lossprune.strip_pruning(pruned))
        dense = tf_lossprune.cost(model)
        for name, share in budget.items():
            self.assertLessEqual(compact[name], share * dense[name])

    def test_structure_of_inputs_and_outputs_stays(self):
        inputs = {
            "image": keras.Input((8, 8, 3), name="image"),
            "extra": keras.Input((5,), name="extra"),
        }
        x = keras.layers.Conv2D(8, 3, activation="relu")(inputs["image"])
        x = keras.layers.GlobalAveragePooling2D()(x)
        y = keras.layers.Dense(6, activation="relu")(inputs["extra"])
        x = keras.layers.Concatenate()([x, y])
        outputs = {
            "a": keras.layers.Dense(2, name="a")(x),
            "b": keras.layers.Dense(3, name="b")(x),
        }
        model = keras.Model(inputs, outputs)
        models.randomize(model, 0)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)
        rng = np.random.default_rng(0)
        x = {
            "image": rng.normal(size=(2, 8, 8, 3)).astype("f"),
            "extra": rng.normal(size=(2, 5)).astype("f"),
        }
        found, wanted = compact(x), pruned(x)
        self.assertEqual(sorted(found), ["a", "b"])
        for key in found:
            self.assertLess(relative(wanted[key], found[key]), 1e-4)

    @parameterized.parameters(
        ("s0b0_a_conv",), (["s0b0", "s1b1_a_conv"],), (lambda la: "s0b0" in la.name,)
    )
    def test_exclude(self, exclude):
        model = randomized("resnet20")
        pruned = tf_lossprune.prune_model(
            model, {"macs": 0.5}, method="uniform", exclude=exclude
        )
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertEqual(compact.get_layer("s0b0_a_conv").filters, 8)
        self.assertLess(compact.get_layer("s0b1_a_conv").filters, 8)

    def test_channel_multiple_and_minimum(self):
        model = models.resnet20(width=16)
        pruned = tf_lossprune.prune_model(
            model, {"macs": 0.4}, method="magnitude", channel_multiple=4, min_channels=6
        )
        for kept, _ in pruned.kept_channels().values():
            self.assertEqual(kept % 4, 0)
            self.assertGreaterEqual(kept, 8)

    def test_sequential_with_channels_first_flatten_and_names_shared_with_nested(self):
        block = keras.Sequential(
            [keras.Input((8, 8, 4)), keras.layers.Conv2D(6, 3, name="conv")]
        )
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.layers.Conv2D(4, 1, name="conv"),
                block,
                keras.layers.Permute((3, 1, 2)),
                keras.layers.Flatten(data_format="channels_first"),
                keras.layers.Dense(3),
            ]
        )
        models.randomize(model, 0)
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)
        x = sample(model)
        self.assertLess(relative(pruned(x), compact(x)), 1e-4)

    def test_trainable_false_is_kept(self):
        model = models.digits_resnet()
        model.get_layer("s0b0_a_conv").trainable = False
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="uniform")
        compact = tf_lossprune.strip_pruning(pruned)
        self.assertFalse(compact.get_layer("s0b0_a_conv").trainable)

    def test_same_seed_same_result(self):
        model = randomized("mobilenet_v1")
        found = [
            tf_lossprune.prune_model(model, {"macs": 0.5}, method=m).kept_channels()
            for m in ("magnitude", "magnitude")
        ]
        self.assertEqual(found[0], found[1])

    def test_compact_model_loads_without_us(self):
        model = randomized("mobilenet_v2")
        pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned)
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        compact.save(f"{folder}/compact.keras")
        x = sample(model)
        np.savez(f"{folder}/data.npz", x=x, y=np.array(compact(x)))
        code = (
            "import sys, keras, numpy as np\n"
            f"model = keras.models.load_model(r'{folder}/compact.keras')\n"
            f"data = np.load(r'{folder}/data.npz')\n"
            "np.testing.assert_allclose(model(data['x']), data['y'], "
            "rtol=1e-4, atol=1e-4)\n"
            "assert not any(m.startswith('tf_lossprune') for m in sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
