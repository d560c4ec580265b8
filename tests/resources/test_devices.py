"""Budgets on a microcontroller's arena and an accelerator's cycles hold exactly."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_lossprune
from examples import models
from tf_lossprune import Budget, InfeasibleBudgetError
from tf_lossprune.deploy import (
    LitertMeasurer,
    convert_to_measure,
    micro_arena,
    npu_estimate,
)
from tf_lossprune.graph import analyze
from tf_lossprune.resources import Measurer, NpuCycles, TflmArena
from tf_lossprune.surgery import cut

on_files = pytest.mark.skipif(
    not LitertMeasurer().works_here(), reason="makes and runs LiteRT files"
)


def needs_tools():
    for package in ("tflite_micro", "ethosu.vela"):
        pytest.importorskip(package, reason="needs pip install 'tf_lossprune[micro]'")


def network(width=16):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Add()([x, layers.Conv2D(width, 1)(layers.ReLU()(y))])
    x = layers.Conv2D(2 * width, 3, strides=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return models.randomize(keras.Model(inputs, layers.Dense(4)(x)))


def measured(model, folder, accelerator="ethos-u55-128"):
    """Arena and cycles by the tools themselves."""
    path = folder / f"{model.count_params()}.tflite"
    convert_to_measure(model, path, "int8")
    return {
        "tflm_arena_bytes": micro_arena(path).total,
        "npu_cycles": npu_estimate(path, accelerator).cycles,
    }


@on_files
@pytest.mark.parametrize(
    "limits",
    [
        {"tflm_arena_bytes": 0.7},
        {"npu_cycles": "4k", "tflm_arena_bytes": 0.8, "macs": 0.6},
    ],
    ids=lambda limits: "+".join(limits),
)
@pytest.mark.filterwarnings("ignore:The network uses")
def test_the_delivered_file_keeps_the_budget(limits, tmp_path):
    needs_tools()
    model = network()
    pruned = tf_lossprune.prune_model(model, limits, method="uniform")
    compact = tf_lossprune.strip_pruning(pruned)
    dense, found = measured(model, tmp_path), measured(compact, tmp_path)
    for name, limit in limits.items():
        if name == "macs":
            continue
        allowed = 4e3 if isinstance(limit, str) else limit * dense[name]
        assert found[name] <= allowed, name
    assert 0.8 < max(pruned.usage().used.values()) <= 1.0


@on_files
def test_the_estimate_is_near_the_tools_figures(tmp_path):
    needs_tools()
    model = network()
    channels, measurer = analyze(model), LitertMeasurer()
    keep = np.ones(channels.num_units + 1, bool)
    for group in channels.groups:
        keep[group.units[group.size // 2 :]] = False
    kept = [keep[group.units].sum() for group in channels.groups]
    compact = cut(channels, keep)
    arena = TflmArena(measurer=measurer)
    estimate = arena.function(channels).total(kept)
    assert estimate == pytest.approx(arena.measure(compact, channels), rel=0.02)
    npu = NpuCycles(measurer=measurer)
    cost = npu.function(channels)
    assert cost.total(kept) == pytest.approx(npu.measure(compact, channels), rel=0.2)
    assert (
        cost.total(cost.sizes) >= cost.dense == measured(model, tmp_path)["npu_cycles"]
    )
    assert sum(cost.per_layer(kept).values()) == pytest.approx(cost.total(kept))


@on_files
@pytest.mark.long
def test_cycles_hold_after_training(tmp_path):
    needs_tools()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(128, 8, 8, 3)), rng.integers(0, 4, 128)
    model = network(32)
    compact, _ = tf_lossprune.compress(
        model,
        {"npu_cycles": 0.6},
        (x, y),
        epochs=4,
        optimizer=keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        verbose=0,
    )
    dense, found = measured(model, tmp_path), measured(compact, tmp_path)
    assert found["npu_cycles"] <= 0.6 * dense["npu_cycles"]


@on_files
def test_what_cannot_be_reached_is_an_error():
    needs_tools()
    with pytest.raises(InfeasibleBudgetError, match="tflm_arena_bytes"):
        tf_lossprune.prune_model(network(), {"tflm_arena_bytes": "1 kB"})


@on_files
def test_every_kind_of_operation_has_cycles():
    needs_tools()
    inputs = keras.Input((16, 16, 4))
    x = layers.Conv2D(16, 3, groups=4, padding="same")(inputs)
    x = layers.SeparableConv2D(16, 3, padding="same", activation="swish")(x)
    y = layers.Conv2DTranspose(8, 2, strides=2)(layers.MaxPooling2D()(x))
    x = layers.Concatenate()([x, y])
    gate = layers.Dense(24, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 24))(gate)])
    x = layers.Reshape((256, 24))(layers.ZeroPadding2D(0)(x))
    x = layers.Conv1D(16, 5, padding="same", dilation_rate=2)(x)
    x = layers.EinsumDense("btc,cd->btd", (256, 8))(x)
    outputs = layers.Softmax()(layers.Dense(4)(layers.Flatten()(x)))
    channels = analyze(models.randomize(keras.Model(inputs, outputs)))
    npu = NpuCycles(dense=(1e5, 1e5), measurer=LitertMeasurer(False))
    cost = npu.function(channels)
    found = cost.per_layer(cost.sizes)
    assert all(value > 0 for value in found.values()), found
    half = cost.total(cost.sizes // 2)
    assert 0 < half < cost.total(cost.sizes)


@keras.saving.register_keras_serializable(package="test_devices")
class Device(Measurer):
    """Says what a network costs without any tool."""

    def convert(self, model, path, precision):
        with open(path, "w") as file:
            file.write(str(model.count_params()))

    def micro_arena(self, path):
        with open(path) as file:
            return 1000, int(file.read())

    def npu_cycles(self, path, any_weights=False, **options):
        with open(path) as file:
            return int(file.read()) * (11 if any_weights else 10)

    def npu_operation(self, operation, given, made, **options):
        return 5.0 * made + 0.1 * given * made


def test_a_saved_model_knows_what_was_compiled(tmp_path):
    npu = NpuCycles("ethos-u65-512", measurer=Device())
    arena = TflmArena(measurer=Device())
    budget = Budget({"npu_cycles": 0.5, "tflm_arena_bytes": 0.9}, [npu, arena])
    pruned = tf_lossprune.prune_model(network(8), budget, method="uniform")
    pruned.save(tmp_path / "pruned.keras")
    again = keras.models.load_model(tmp_path / "pruned.keras")
    found = again.budget.resource("npu_cycles")
    assert found.options["accelerator"] == "ethos-u65-512"
    assert found.get_config()["rows"] and isinstance(found.measurer, Device)
    kept = [kept for kept, _ in again.kept_channels().values()]
    for name in budget.limits:
        assert again.costs[name].total(kept) == pruned.costs[name].total(kept)
    compact = tf_lossprune.strip_pruning(again)
    dense = 10 * network(8).count_params()
    assert 11 * compact.count_params() <= 0.5 * dense


def test_settings_that_no_device_has():
    with pytest.raises(ValueError, match="ethos-u55-128.*Received: 'u55'"):
        NpuCycles("u55")
    with pytest.raises(ValueError, match="'int8_fp32_io'.*Received: 'fp16'"):
        TflmArena("fp16")
    with pytest.raises(ValueError, match=r"LitertMeasurer.*Received: NpuCycles"):
        NpuCycles().function(analyze(network(8)))
