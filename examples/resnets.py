"""Residual networks, and the small parts that all example networks share."""

import keras
from keras import layers

INITIALIZER = "he_normal"


def conv(x, filters, size, name, stride=1):
    """A convolution without bias, named `<name>_conv`, applied to `x`."""
    return layers.Conv2D(
        filters,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=INITIALIZER,
        name=f"{name}_conv",
    )(x)


def conv_bn(x, filters, size, name, stride=1):
    """`conv`, then a batch normalisation named `<name>_bn`."""
    x = conv(x, filters, size, name, stride)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def conv_bn_relu(x, filters, size, name, stride=1, max_value=None):
    """`conv_bn`, then a ReLU (capped at `max_value`) named `<name>_relu`."""
    x = conv_bn(x, filters, size, name, stride)
    return layers.ReLU(max_value=max_value, name=f"{name}_relu")(x)


def image_input(shape):
    """An input for images `(height, width, channels)`."""
    return keras.Input(shape, name="input_layer")


def logits(x, classes):
    """Global average pooling and a dense layer named "head"."""
    x = layers.GlobalAveragePooling2D(name="gap")(x)
    return layers.Dense(classes, name="head")(x)


def _basic_block(x, filters, name, stride=1):
    """Two 3x3 convolutions and a shortcut (a 1x1 convolution where it must be)."""
    y = conv_bn_relu(x, filters, 3, f"{name}_a", stride)
    if stride != 1 or x.shape[-1] != filters:
        x = conv_bn(x, filters, 1, f"{name}_sc", stride)
    y = conv_bn(y, filters, 3, f"{name}_b")
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_out")(y)


def _bottleneck_block(x, filters, name, stride=1):
    """1x1, 3x3 (with the stride), 1x1 to four times the width, and a shortcut."""
    y = conv_bn_relu(x, filters, 1, f"{name}_a")
    y = conv_bn_relu(y, filters, 3, f"{name}_b", stride)
    if stride != 1 or x.shape[-1] != 4 * filters:
        x = conv_bn(x, 4 * filters, 1, f"{name}_sc", stride)
    y = conv_bn(y, 4 * filters, 1, f"{name}_c")
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_out")(y)


def resnet(
    depth=20,
    input_shape=(28, 28, 1),
    classes=10,
    width=16,
    stages=3,
    blocks=None,
    name=None,
):
    """Residual network for small images, with 1x1-convolution shortcuts.

    Args:
        depth: Number of weighted layers, `6 n + 2`; ignored where `blocks` is given.
        input_shape: `(height, width, channels)`.
        classes: Number of logits.
        width: Channels of the first stage; every stage doubles them.
        stages: Number of stages; all but the first halve the image.
        blocks: Residual blocks in a stage, `(depth - 2) / 6` by default.
        name: Name of the model, `resnet<depth>` by default.

    Returns:
        A `keras.Model` that maps images to logits.

    Raises:
        ValueError: If `depth` is not `6 n + 2`.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """
    if blocks is None:
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"`depth` must be 6 n + 2 with n >= 1. Received: {depth}")
    inputs = image_input(input_shape)
    x = conv_bn_relu(inputs, width, 3, "stem")
    for stage in range(stages):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            x = _basic_block(x, width * 2**stage, f"s{stage}b{block}", stride)
    return keras.Model(inputs, logits(x, classes), name=name or f"resnet{depth}")


def resnet20(input_shape=(28, 28, 1), classes=10, width=16):
    """ResNet-20: 12 coupling groups, 40.81 M conv MACs at 32x32x3."""
    return resnet(20, input_shape, classes, width)


def resnet56(input_shape=(28, 28, 1), classes=10, width=16):
    """ResNet-56: 30 coupling groups, 125.75 M conv MACs at 32x32x3."""
    return resnet(56, input_shape, classes, width)


def resnet18(input_shape=(28, 28, 1), classes=10, width=64):
    """ResNet-18 for small images: a 3x3 stem, 555.4 M conv MACs at 32x32x3."""
    return resnet(
        input_shape=input_shape,
        classes=classes,
        width=width,
        stages=4,
        blocks=2,
        name="resnet18",
    )


def digits_resnet(input_shape=(8, 8, 1), classes=10, width=16):
    """Two-stage residual network for the 8x8 digits of scikit-learn."""
    return resnet(
        input_shape=input_shape,
        classes=classes,
        width=width,
        stages=2,
        blocks=2,
        name="digits_resnet",
    )


def resnet_imagenet(depth=18, input_shape=(224, 224, 3), classes=1000, width=64):
    """ResNet-18 (basic blocks) or ResNet-50 (bottlenecks, stride in the 3x3).

    Args:
        depth: 18 or 50.
        input_shape: `(height, width, channels)`.
        classes: Number of logits.
        width: Channels of the first convolution.

    Returns:
        A `keras.Model`; 1.814 G (18) or 4.087 G (50) conv MACs at 224x224x3.

    Raises:
        ValueError: If `depth` is neither 18 nor 50.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """
    designs = {
        18: (_basic_block, (2, 2, 2, 2)),
        50: (_bottleneck_block, (3, 4, 6, 3)),
    }
    if depth not in designs:
        raise ValueError(f"`depth` must be 18 or 50. Received: {depth}")
    add_block, counts = designs[depth]
    inputs = image_input(input_shape)
    x = conv_bn_relu(inputs, width, 7, "stem", stride=2)
    x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, count in enumerate(counts):
        for block in range(count):
            stride = 2 if stage and not block else 1
            x = add_block(x, width * 2**stage, f"s{stage}b{block}", stride)
    outputs = logits(x, classes)
    return keras.Model(inputs, outputs, name=f"resnet{depth}_imagenet")
