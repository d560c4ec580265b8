"""Depthwise convolutions with wide kernels are computed in pieces in LiteRT files."""

import keras
import numpy as np
import pytest
from keras import layers

from tf_lossprune import deploy
from tf_lossprune.deploy.wide_kernels import in_pieces

SAME = {"padding": "same"}
WIDE = {
    "7x7": layers.DepthwiseConv2D(7, **SAME),
    "valid": layers.DepthwiseConv2D(7, activation="relu"),
    "strides": layers.DepthwiseConv2D(7, strides=2, **SAME),
    "multiplier": layers.DepthwiseConv2D(7, depth_multiplier=2, **SAME),
    "dilated": layers.DepthwiseConv2D(6, dilation_rate=2, **SAME),
    "one row": layers.DepthwiseConv2D((1, 31), use_bias=False, **SAME),
    "one column": layers.DepthwiseConv2D((31, 1), **SAME),
    "very wide": layers.DepthwiseConv2D((3, 27), **SAME),
    "grouped": layers.Conv2D(8, 7, groups=4, strides=2, **SAME),
    "separable": layers.SeparableConv2D(5, 7, strides=2, **SAME),
    "1D": layers.DepthwiseConv1D(31, strides=2, **SAME),
    "1D separable": layers.SeparableConv1D(5, 31, dilation_rate=2, **SAME),
    "1D grouped": layers.Conv1D(4, 27, groups=4, padding="valid"),
}
OTHERS = {
    "5x5": layers.DepthwiseConv2D(5),
    "groups of two": layers.Conv2D(8, 7, groups=4),
    "causal": layers.Conv1D(4, 31, groups=4, padding="causal"),
}


def with_weights(layer):
    """A network of one layer with random weights."""
    grouped = layer.name.startswith("conv2d") and layer.kernel_size == (7, 7)
    channels = 8 if grouped and layer is OTHERS["groups of two"] else 4
    model = keras.Sequential(
        [keras.Input((*(33, 36)[: layer.rank], channels)), layer], name="net"
    )
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    return model


@pytest.mark.parametrize("name", [*WIDE, *OTHERS])
def test_computes_what_the_layer_does(name):
    layer = {**WIDE, **OTHERS}[name]
    model = with_weights(layer)
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    x = x.astype("float32")
    wanted = np.asarray(model(x))
    with in_pieces(model):
        assert ("call" in vars(layer)) == (name in WIDE)
        found = np.asarray(model(x))
    assert "call" not in vars(layer)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="LiteRT")
@pytest.mark.parametrize("precision, pieces", [("fp32", 3), ("fp16", 3), ("int8", 1)])
def test_files_have_them_in_floats(precision, pieces, tmp_path):
    model = with_weights(WIDE["7x7"])
    images = np.random.default_rng(1).normal(size=(8, 33, 36, 4)).astype("float32")
    path = deploy.to_litert(model, tmp_path / "net.tflite", precision, images)
    assert depthwise(path) == pieces
    probe = tmp_path / "probe.tflite"
    deploy.LitertMeasurer().convert_operation(model, str(probe), precision)
    assert depthwise(str(probe)) == pieces


def depthwise(path):
    """How many depthwise convolutions a file has."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    plain = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    found = interpreter.Interpreter(path, experimental_op_resolver_type=plain)
    names = [operation["op_name"] for operation in found._get_ops_details()]
    return names.count("DEPTHWISE_CONV_2D")
