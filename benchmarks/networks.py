"""The networks that the benchmarks of speed take, by name."""

import keras
from keras import layers

from benchmarks import vision_transformers
from examples import models


@keras.saving.register_keras_serializable("benchmarks")
class LayerScale(layers.Layer):
    """Multiplies each channel by a learned number."""

    def build(self, shape):
        self.gamma = self.add_weight(
            shape=shape[-1:], initializer=keras.initializers.Constant(1e-6)
        )

    def call(self, x):
        return x * self.gamma


def convnext(shape=(32, 32, 3), classes=10, width=48, depths=(2, 2, 2)):
    """A small ConvNeXt, with the blocks that `keras.applications` has.

    Patches are of 4 pixels, of images below 64 pixels of 2.

    Its depthwise convolutions are `DepthwiseConv2D`: XLA compiles grouped ones for
    minutes on a CPU.
    """
    inputs = keras.Input(shape)
    patch = 4 if shape[0] >= 64 else 2
    x = layers.Conv2D(width, patch, patch, name="stem")(inputs)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    for stage, depth in enumerate(depths):
        if stage:
            x = layers.LayerNormalization(epsilon=1e-6)(x)
            x = layers.Conv2D(2 * x.shape[-1], 2, 2, name=f"down{stage}")(x)
        for block in range(depth):
            x = _block(x, f"stage{stage}_block{block}")
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(inputs, layers.Dense(classes, name="head")(x), name="convnext")


def _block(x, name):
    width = x.shape[-1]
    y = layers.DepthwiseConv2D(7, padding="same", name=f"{name}_spatial")(x)
    y = layers.LayerNormalization(epsilon=1e-6)(y)
    y = layers.Dense(4 * width, name=f"{name}_hidden")(y)
    y = layers.Dense(width, name=f"{name}_out")(layers.Activation("gelu")(y))
    return layers.Add()([x, LayerScale(name=f"{name}_scale")(y)])


_BUILDERS = {**vision_transformers.NETWORKS, "convnext": convnext}
NAMES = (*models.NAMES, *_BUILDERS)


def build(name, shape, classes=10, width=None):
    """Builds a network with random weights.

    Args:
        name: One of `NAMES`.
        shape: `(height, width, channels)` of the images.
        classes: Number of logits.
        width: Channels of the first layer; None: the network's own.

    Returns:
        A `keras.Model` that maps images to logits.

    Raises:
        ValueError: If there is no network of that name.
    """
    options = {} if width is None else {"width": width}
    if name in _BUILDERS:
        return _BUILDERS[name](shape, classes, **options)
    if name not in NAMES:
        raise ValueError(f"Expected one of {[*NAMES]}. Received: {name!r}")
    return models.build(name, input_shape=shape, classes=classes, **options)
