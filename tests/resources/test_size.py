"""Bytes in a budget are bytes of files."""

import os

import keras
import numpy as np
import pytest
from keras import layers

import tf_lossprune
from examples import models
from tf_lossprune.deploy import LitertMeasurer, to_litert
from tf_lossprune.graph import analyze
from tf_lossprune.resources import Measurer, SizeBytes
from tf_lossprune.surgery import cut

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="LiteRT takes TensorFlow"
)
PRECISIONS = ("fp32", "fp16", "int8")


def normalized(x, where, layer):
    """A layer with or without a batch normalisation before or behind it."""
    if where == "before":
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layer(x)
    if where == "behind":
        x = layers.BatchNormalization()(x)
    return layers.ReLU()(x)


def network(use_bias, where, width=32):
    """Layers of all kinds, each with that bias and that normalisation."""
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for layer in (
        layers.Conv2D(width, 3, use_bias=use_bias),
        layers.DepthwiseConv2D(3, padding="same", use_bias=use_bias),
        layers.Conv2D(width, 3, groups=4, padding="same", use_bias=use_bias),
        layers.SeparableConv2D(width, 3, padding="same", use_bias=use_bias),
        layers.Conv2DTranspose(width, 2, use_bias=use_bias),
        layers.Dense(width, use_bias=use_bias),
    ):
        x = normalized(x, where, layer)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    x = normalized(x, where, layers.Dense(width, use_bias=use_bias))
    return models.randomize(keras.Model(inputs, layers.Dense(5)(x)))


def size_of(model, path, precision):
    rng = np.random.default_rng(0)
    x = rng.random((4, *model.input_shape[1:])).astype("float32")
    return os.path.getsize(to_litert(model, path / "m.tflite", precision, x))


@pytest.mark.parametrize(
    ("use_bias", "where"),
    [
        (False, "before"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in [
                (True, "behind"),
                (True, "before"),
                (True, "nowhere"),
                (False, "behind"),
                (False, "nowhere"),
            ]
        ),
    ],
)
def test_the_estimate_is_the_files(use_bias, where, tmp_path):
    channels = analyze(network(use_bias, where))
    keep = np.ones(channels.num_units + 1, bool)
    for group in channels.groups:
        keep[group.units[group.size // 4 :]] = False
    kept = [keep[group.units].sum() for group in channels.groups]
    compact = cut(channels, keep)
    for precision in ("fp32", "int8"):
        size = SizeBytes(precision, measurer=LitertMeasurer())
        real = size.measure(compact, channels)
        # Names and padding do not depend on the widths; where layers have no bias, the
        # file has zeros, once for all layers of one width.
        estimate = size.function(channels).total(kept)
        assert estimate == pytest.approx(real, rel=0.01 if use_bias else 0.05)


@pytest.mark.filterwarnings("ignore:The int8 file")
@pytest.mark.parametrize(
    ("precision", "use_bias", "where"),
    [
        pytest.param("fp32", True, "behind", marks=pytest.mark.long),
        pytest.param("fp16", False, "before", marks=pytest.mark.long),
        ("int8", True, "behind"),
    ],
)
def test_the_delivered_file_is_the_share_of_the_dense_file(
    precision, use_bias, where, tmp_path
):
    model = network(use_bias, where, 48)
    dense = size_of(model, tmp_path, precision)
    size = SizeBytes(precision)
    budget = tf_lossprune.Budget({"size_bytes": 0.5}, resources=[size])
    pruned = tf_lossprune.prune_model(
        model, budget, method="uniform", channel_multiple=1
    )
    assert abs(pruned.costs["size_bytes"].dense - dense) <= 64
    compact = tf_lossprune.strip_pruning(pruned)
    assert 0.45 * dense < size_of(compact, tmp_path, precision) <= 0.5 * dense


def test_weights_that_no_rule_knows_are_in_the_file_too(tmp_path):
    inputs = keras.Input((6, 4))
    x = layers.Dense(16, activation="relu")(inputs)
    x = layers.Bidirectional(layers.LSTM(8))(layers.TimeDistributed(layers.Dense(6))(x))
    model = models.randomize(keras.Model(inputs, layers.Dense(2)(x)))
    cost = SizeBytes("fp32", measurer=LitertMeasurer()).function(analyze(model))
    assert abs(cost.dense - size_of(model, tmp_path, "fp32")) <= 64


def test_without_a_measurer_the_error_names_the_cure():
    with pytest.raises(ValueError, match=r"LitertMeasurer.*Received: SizeBytes"):
        SizeBytes("fp32").function(analyze(network(True, "behind")))
    with pytest.raises(TypeError, match="Expected a Measurer"):
        SizeBytes("fp32", measurer="litert")


@keras.saving.register_keras_serializable(package="test_size")
class Scales(Measurer):
    """A format of its own, in which a file has no header."""

    def convert(self, model, path, precision):
        with open(path, "wb") as file:
            file.write(bytes(4 * model.count_params()))


def test_a_measurer_of_the_users_own_is_asked_and_saved(tmp_path):
    model = network(True, "behind")
    size = SizeBytes("fp32", measurer=Scales())
    budget = tf_lossprune.Budget({"size_bytes": 0.5}, resources=[size])
    pruned = tf_lossprune.prune_model(model, budget, method="uniform")
    dense = pruned.costs["size_bytes"].dense
    assert dense == 4 * model.count_params()
    assert tf_lossprune.strip_pruning(pruned).count_params() <= dense / 8
    pruned.save(tmp_path / "pruned.keras")
    again = keras.models.load_model(tmp_path / "pruned.keras")
    assert isinstance(again.budget.resource("size_bytes").measurer, Scales)
