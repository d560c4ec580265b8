"""Networks used by the examples, the tests and the benchmarks.

All of them are functional Keras models with random initial weights that return
logits. `width` is the number of channels of the first convolution; every other
layer scales with it, so the same architecture serves as a unit test (`width=4`)
and as a benchmark.
"""

import keras
import numpy as np
from keras import layers

from examples.resnets import (
    INITIALIZER,
    conv,
    conv_bn,
    conv_bn_relu,
    digits_resnet,
    image_input,
    logits,
    resnet,
    resnet18,
    resnet20,
    resnet56,
    resnet_imagenet,
)


def vgg16_bn(input_shape=(32, 32, 3), classes=10, width=64):
    """VGG-16 with batch normalisation: 13 convolutions, 313.2 M MACs at 32x32x3.

    A pool is left out where the image is already smaller than two pixels.

    Args:
        input_shape: `(height, width, channels)`.
        classes: Number of logits.
        width: Channels of the first two convolutions.

    Returns:
        A `keras.Model` that maps images to logits.

    Reference:
        Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015.
    """
    inputs = x = image_input(input_shape)
    for block, (factor, count) in enumerate(((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))):
        for i in range(count):
            x = conv_bn_relu(x, factor * width, 3, f"b{block}c{i}")
        if min(x.shape[1:3]) >= 2:
            x = layers.MaxPooling2D(2, name=f"b{block}_pool")(x)
    return keras.Model(inputs, logits(x, classes), name="vgg16_bn")


def _depthwise_bn_relu(x, name, stride=1, max_value=6.0):
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=INITIALIZER,
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(max_value=max_value, name=f"{name}_relu")(x)


def _is_small(input_shape):
    # Images of CIFAR size keep their resolution for longer (8x down, not 32x).
    return min(input_shape[:2]) < 96


def mobilenet_v1(input_shape=(32, 32, 3), classes=10, width=32):
    """MobileNet: depthwise separable convolutions.

    Below 96 pixels the first two strides of 2 become 1.

    Args:
        input_shape: `(height, width, channels)`.
        classes: Number of logits.
        width: Channels of the first convolution.

    Returns:
        A `keras.Model` that maps images to logits.

    Reference:
        Howard et al., MobileNets, arXiv 1704.04861.
    """
    first = 1 if _is_small(input_shape) else 2
    design = [(2, 1), (4, first), (4, 1), (8, 2), (8, 1), (16, 2)]
    design += [(16, 1)] * 5 + [(32, 2), (32, 1)]
    inputs = image_input(input_shape)
    x = conv_bn_relu(inputs, width, 3, "stem", first, max_value=6.0)
    for i, (factor, stride) in enumerate(design):
        x = _depthwise_bn_relu(x, f"b{i}_dw", stride)
        x = conv_bn_relu(x, factor * width, 1, f"b{i}_pw", max_value=6.0)
    return keras.Model(inputs, logits(x, classes), name="mobilenet_v1")


def mobilenet_v2(input_shape=(32, 32, 3), classes=10, width=32):
    """MobileNetV2: inverted residuals with linear bottlenecks.

    Below 96 pixels the first two strides of 2 become 1.

    Args:
        input_shape: `(height, width, channels)`.
        classes: Number of logits.
        width: Channels of the first convolution (32 in the paper).

    Returns:
        A `keras.Model` that maps images to logits.

    Reference:
        Sandler et al., MobileNetV2, CVPR 2018.
    """
    first = 1 if _is_small(input_shape) else 2
    # expansion, channels at width 32, repeats, stride
    design = (
        (1, 16, 1, 1),
        (6, 24, 2, first),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    inputs = image_input(input_shape)
    x = conv_bn_relu(inputs, width, 3, "stem", first, max_value=6.0)
    index = 0
    for expansion, channels, repeats, stride in design:
        filters = max(1, round(channels * width / 32))
        for repeat in range(repeats):
            name = f"b{index}"
            y = x
            if expansion > 1:
                wide = expansion * x.shape[-1]
                y = conv_bn_relu(y, wide, 1, f"{name}_expand", max_value=6.0)
            y = _depthwise_bn_relu(y, f"{name}_dw", 1 if repeat else stride)
            y = conv_bn(y, filters, 1, f"{name}_project")
            x = layers.Add(name=f"{name}_add")([x, y]) if repeat else y
            index += 1
    x = conv_bn_relu(x, 40 * width, 1, "top", max_value=6.0)
    return keras.Model(inputs, logits(x, classes), name="mobilenet_v2")


def densenet_small(input_shape=(32, 32, 3), classes=10, width=16):
    """Three dense blocks of three layers: concatenations, pre-activation, pools.

    Args:
        input_shape: `(height, width, channels)`.
        classes: Number of logits.
        width: Channels of the first convolution; each layer adds half as many.

    Returns:
        A `keras.Model` that maps images to logits.

    Reference:
        Huang et al., Densely Connected Convolutional Networks, CVPR 2017.
    """
    growth = max(1, width // 2)
    inputs = image_input(input_shape)
    x = conv(inputs, width, 3, "stem")
    for block in range(3):
        for i in range(3):
            name = f"d{block}l{i}"
            y = layers.BatchNormalization(name=f"{name}_bn")(x)
            y = layers.ReLU(name=f"{name}_relu")(y)
            y = conv(y, growth, 3, name)
            x = layers.Concatenate(name=f"{name}_concat")([x, y])
        if block < 2:
            x = layers.BatchNormalization(name=f"t{block}_bn")(x)
            x = layers.ReLU(name=f"t{block}_relu")(x)
            x = conv(x, max(1, x.shape[-1] // 2), 1, f"t{block}")
            x = layers.AveragePooling2D(2, name=f"t{block}_pool")(x)
    x = layers.BatchNormalization(name="top_bn")(x)
    x = layers.ReLU(name="top_relu")(x)
    return keras.Model(inputs, logits(x, classes), name="densenet_small")


def squeeze_excite_net(input_shape=(32, 32, 3), classes=10, width=16):
    """Residual network with swish and squeeze-excite gates on its blocks.

    The gates of even blocks pool with `keepdims`, those of odd blocks pool to a
    vector and reshape it, as both are common.

    Args:
        input_shape: `(height, width, channels)`.
        classes: Number of logits.
        width: Channels of the first convolution.

    Returns:
        A `keras.Model` that maps images to logits.

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, CVPR 2018.
    """
    inputs = image_input(input_shape)
    x = conv_bn(inputs, width, 3, "stem")
    x = layers.Activation("swish", name="stem_swish")(x)
    for block, (factor, stride) in enumerate(((1, 1), (1, 1), (2, 2), (2, 1))):
        name, filters = f"b{block}", factor * width
        y = conv_bn(x, filters, 3, f"{name}_a", stride)
        y = layers.Activation("swish", name=f"{name}_swish")(y)
        y = _squeeze_excite(y, name, reshape=bool(block % 2))
        y = conv_bn(y, filters, 1, f"{name}_b")
        if x.shape == y.shape:
            y = layers.Add(name=f"{name}_add")([x, y])
        x = y
    return keras.Model(inputs, logits(x, classes), name="squeeze_excite_net")


def _squeeze_excite(x, name, reshape):
    channels = x.shape[-1]
    pool = layers.GlobalAveragePooling2D(keepdims=not reshape, name=f"{name}_squeeze")
    gate = pool(x)
    reduced = max(1, channels // 4)
    gate = layers.Dense(reduced, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Dense(channels, activation="sigmoid", name=f"{name}_excite")(gate)
    if reshape:
        gate = layers.Reshape((1, 1, channels), name=f"{name}_reshape")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


def randomize(model, seed=0):
    """Sets all weights and batch-norm statistics to random values of both signs.

    With its initial values a batch normalisation hardly does anything; only a
    randomised network shows whether a transformation keeps the function.

    Args:
        model: A built `keras.Model`; changed in place.
        seed: Seed of the generator.

    Returns:
        The same model.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        shape = variable.shape
        kind = variable.path.split("/")[-1]
        if kind in ("mean", "variance", "count"):
            continue  # what a Normalization layer has been adapted to
        if kind == "moving_variance":
            value = rng.uniform(0.5, 1.5, shape)
        elif kind == "gamma":
            value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
        elif len(shape) < 2:
            value = rng.normal(0.0, 0.3, shape)
        else:
            # A depthwise kernel (h, w, c, multiplier) has h * w inputs, not h * w * c.
            fan_in = np.prod(shape[:2] if "depthwise" in variable.path else shape[:-1])
            value = rng.normal(0.0, np.sqrt(2.0 / fan_in), shape)
        variable.assign(value.astype("float32"))
    return model


_BUILDERS = {
    "digits_resnet": digits_resnet,
    "resnet": resnet,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "resnet_imagenet": resnet_imagenet,
    "vgg16_bn": vgg16_bn,
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "densenet_small": densenet_small,
    "squeeze_excite_net": squeeze_excite_net,
}
NAMES = tuple(_BUILDERS)


def build(name, **kwargs):
    """Builds a network by its name.

    Args:
        name: One of `NAMES`.
        **kwargs: Passed to the builder (`input_shape`, `classes`, `width`, ...).

    Returns:
        A `keras.Model` that maps images to logits.

    Raises:
        ValueError: If there is no network of that name.

    Example:
        >>> build("resnet20", input_shape=(32, 32, 3)).name
        'resnet20'
    """
    if name not in _BUILDERS:
        raise ValueError(f"`name` must be one of {list(NAMES)}. Received: {name!r}")
    return _BUILDERS[name](**kwargs)
