"""A small vision transformer and a small hybrid, and how they are trained dense."""

import pathlib

import keras
from keras import layers

from benchmarks import common
from examples.batches import ArrayBatches

BATCH = 64
PEAK_RATE, WEIGHT_DECAY = 2e-3, 0.05
WARMUP = 0.1
#: Weight of the dense network's outputs in the loss of the pruned ones.
TEACHER = 0.5


@keras.saving.register_keras_serializable("benchmarks")
class Positions(layers.Layer):
    """Adds a learned vector to each token."""

    def build(self, shape):
        self.table = self.add_weight(
            shape=shape[1:], initializer=keras.initializers.RandomNormal(0, 0.02)
        )

    def call(self, x):
        return x + self.table


def _mlp(x, hidden, name, y=None):
    y = layers.LayerNormalization(epsilon=1e-6)(x if y is None else y)
    y = layers.Dense(hidden, name=f"{name}_hidden")(y)
    y = layers.Dense(x.shape[-1], name=f"{name}_out")(layers.Activation("gelu")(y))
    return layers.Add()([x, y])


def _attention(x, heads, name):
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    attention = layers.MultiHeadAttention(heads, x.shape[-1] // heads, name=name)
    return layers.Add()([x, attention(y, y)])


def _block(x, heads, name):
    x = _attention(x, heads, f"{name}_attention")
    return _mlp(x, 2 * x.shape[-1], f"{name}_mlp")


def _classified(x, classes):
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.GlobalAveragePooling1D()(x)
    return layers.Dense(classes, name="head")(x)


def vit(shape=(32, 32, 3), classes=10, width=64, blocks=4, heads=4, patch=4):
    """A vision transformer: patches, positions, blocks of attention and MLP."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(width, patch, patch, name="patches")(inputs)
    x = Positions(name="positions")(layers.Reshape((-1, width))(x))
    for index in range(blocks):
        x = _block(x, heads, f"block{index}")
    return keras.Model(inputs, _classified(x, classes), name="vit")


def _convolution(x, width):
    x = layers.Conv2D(width, 3, 2, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def hybrid(shape=(32, 32, 3), classes=10, width=32, wide=48, heads=4):
    """A convolution, a ConvNeXt block, then attention on 8x8 tokens."""
    inputs = keras.Input(shape)
    x = _convolution(inputs, width)
    x = _mlp(x, 3 * width, "convnext", layers.DepthwiseConv2D(5, padding="same")(x))
    x = layers.Reshape((-1, wide))(_convolution(x, wide))
    for index in range(2):
        x = _block(x, heads, f"block{index}")
    return keras.Model(inputs, _classified(x, classes), name="hybrid")


#: Layers whose widths are inside of a block: all others keep the width of the stream.
INNER = ("_hidden$", "_attention$")
NETWORKS = {"vit": vit, "hybrid": hybrid}


def batches(data, seed, limit=None):
    """Training batches, the same on every framework; a `keras.utils.PyDataset`.

    Args:
        data: `examples.data.Data`.
        seed: Of the choice of images, their order and augmentation.
        limit: Number of images; None: all.
    """
    x, y = data.x_train[:limit], data.y_train[:limit]
    return ArrayBatches(x, y, BATCH, seed, data.shift, data.flip, data.minimum)


def dense(arch, path, data, epochs):
    """Loads the dense network from `path`, or trains it and saves it there.

    By AdamW, with a warm-up and a cosine to zero.
    """
    path = pathlib.Path(path)
    if not path.exists():
        keras.utils.set_random_seed(0)
        model = NETWORKS[arch]()
        train = batches(data, seed=0)
        steps = epochs * len(train)
        warmup = round(WARMUP * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warmup, warmup_target=PEAK_RATE, warmup_steps=warmup
        )
        optimizer = keras.optimizers.AdamW(rate, WEIGHT_DECAY)
        common.compile_classifier(model, optimizer, jit_compile=False)
        held_out = (data.x_val, data.y_val)
        model.fit(train, epochs=epochs, verbose=2, validation_data=held_out)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return keras.models.load_model(path, compile=False)
