"""Random functional graphs drawn from everything that the rules know."""

import keras
from keras import ops

layers = keras.layers


class Builder:
    """Grows one random network.

    Args:
        rng: object like `random.Random`.
        nodes: int, steps to take.
    """

    def __init__(self, rng, nodes):
        self.rng = rng
        self.images = []
        self.sequences = []
        self.vectors = []
        self.used = set()
        self.shared = []
        self.inputs = [keras.Input((8, 8, rng.choice([1, 3, 4])))]
        if rng.random() < 0.2:
            self.inputs.append(keras.Input((8, 8, 4)))
        for x in self.inputs:
            self.images.append(self.convolution(x))
        for _ in range(nodes):
            self.step()

    def model(self):
        """The network: every tensor that nothing reads yet becomes an output."""
        heads = []
        for x in [*self.images, *self.sequences, *self.vectors]:
            if id(x) in self.used:
                continue
            if len(x.shape) == 4 and self.rng.random() < 0.3 and x.shape[1] <= 8:
                x = layers.Flatten()(x)
            elif len(x.shape) == 4:
                x = self.rng.choice(
                    [layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D()]
                )(x)
            elif len(x.shape) == 3:
                x = ops.mean(x, axis=1)
            heads.append(x)
        outputs = [layers.Dense(2)(x) for x in heads[:-1]]
        outputs.append(layers.Dense(3)(heads[-1]))
        return keras.Model(self.inputs, outputs)

    def take(self, pool):
        """A random tensor of a pool; recent ones are likelier."""
        x = pool[max(self.rng.randrange(len(pool)), self.rng.randrange(len(pool)))]
        self.used.add(id(x))
        return x

    def step(self):
        """Adds one operation, or a small block of them."""
        pools = [p for p in (self.images, self.sequences, self.vectors) if p]
        pool = self.rng.choice(pools)
        x = self.take(pool)
        found = self.rng.choice(self.steps_for(x))(self, x)
        for y in found if isinstance(found, (list, tuple)) else [found]:
            self.used.discard(id(y))
            rank = len(y.shape)
            {4: self.images, 3: self.sequences, 2: self.vectors}[rank].append(y)

    def steps_for(self, x):
        """What may follow a tensor, by its rank."""
        return {4: IMAGE_STEPS, 3: SEQUENCE_STEPS, 2: VECTOR_STEPS}[len(x.shape)]

    def width(self):
        return self.rng.choice([2, 3, 4, 6, 8])

    def activation(self):
        return self.rng.choice([None, "relu", "sigmoid", "softplus", "silu"])

    # Images: producers.

    def convolution(self, x):
        groups = self.rng.choice([1, 1, 1, 2, x.shape[-1]])
        filters = self.width()
        if x.shape[-1] % groups or filters % groups:
            groups = 1
        stride = self.rng.choice([1, 1, 2])
        layer = layers.Conv2D(
            filters,
            self.rng.choice([1, 2, 3]),
            strides=stride,
            padding="same",
            dilation_rate=self.rng.choice([1, 2]) if stride == 1 else 1,
            groups=groups,
            use_bias=self.rng.random() < 0.5,
            activation=self.activation(),
        )
        self.shared.append((x.shape[-1], layer))
        return layer(x)

    def shared_convolution(self, x):
        fitting = [la for width, la in self.shared if width == x.shape[-1]]
        return self.rng.choice(fitting)(x) if fitting else self.convolution(x)

    def depthwise(self, x):
        return layers.DepthwiseConv2D(
            self.rng.choice([1, 3]),
            padding="same",
            depth_multiplier=self.rng.choice([1, 1, 2]),
            use_bias=self.rng.random() < 0.5,
            activation=self.activation(),
        )(x)

    def separable(self, x):
        return layers.SeparableConv2D(
            self.width(), 3, padding="same", depth_multiplier=self.rng.choice([1, 2])
        )(x)

    def transposed(self, x):
        if x.shape[1] > 8:
            return self.convolution(x)
        return layers.Conv2DTranspose(
            self.width(),
            self.rng.choice([2, 3]),
            strides=self.rng.choice([1, 2]),
            padding="same",
        )(x)

    def dense(self, x):
        return layers.Dense(self.width(), activation=self.activation())(x)

    def einsum(self, x):
        letters = "abcd"[: len(x.shape)]
        last = letters[-1]
        return layers.EinsumDense(
            f"{letters},{last}z->{letters[:-1]}z",
            (*x.shape[1:-1], self.width()),
            bias_axes=self.rng.choice([None, "z"]),
        )(x)

    # Each channel alone.

    def normalized(self, x):
        kind = self.rng.choice(["batch", "batch", "instance", "layer", "group"])
        if kind == "batch":
            return layers.BatchNormalization(
                scale=self.rng.random() < 0.8, center=self.rng.random() < 0.8
            )(x)
        if kind == "layer":
            return layers.LayerNormalization()(x)
        if len(x.shape) == 2:
            return layers.Activation("tanh")(x)
        groups = x.shape[-1] if kind == "instance" else 1
        return layers.GroupNormalization(groups)(x)

    def activated(self, x):
        shared = list(range(1, len(x.shape) - 1)) or None
        return self.rng.choice(
            [
                layers.ReLU(),
                layers.PReLU(shared_axes=shared),
                layers.PReLU(),
                layers.Activation("sigmoid"),
                layers.Activation("softmax"),
                layers.Dropout(0.2),
                layers.Rescaling([0.5 + i for i in range(x.shape[-1])], offset=0.1),
                ops.square,
                lambda v: v * 2.0 + 1.0,
                lambda v: ops.leaky_relu(v),
            ]
        )(x)

    # Space.

    def spatial(self, x):
        small = x.shape[1] < 4
        choices = [
            layers.ZeroPadding2D(1),
            lambda v: ops.pad(v, [[0, 0], [1, 0], [0, 1], [0, 0]]),
            lambda v: ops.pad(v, [[0, 0], [0, 0], [0, 0], [1, 2]]),
            lambda v: ops.flip(v, axis=1),
            lambda v: ops.flip(v, axis=-1),
            lambda v: ops.roll(v, 1, axis=2),
            layers.Permute((2, 1, 3)),
            layers.MaxPooling2D(2, strides=1, padding="same"),
            layers.AveragePooling2D(3, strides=1, padding="same"),
        ]
        if not small:
            choices += [
                layers.Cropping2D(1),
                layers.MaxPooling2D(2),
                lambda v: ops.average_pool(v, 2),
                lambda v: v[:, 1:, ::2],
            ]
        elif x.shape[2] <= 4:
            choices += [layers.UpSampling2D(2), lambda v: ops.tile(v, [1, 2, 1, 1])]
        return self.rng.choice(choices)(x)

    # Channels moved about.

    def shuffle(self, x):
        _, h, w, c = x.shape
        if c % 2:
            return x[..., : max(1, c // 2)]
        if self.rng.random() < 0.5:
            y = layers.Reshape((h, w, 2, c // 2))(x)
            y = layers.Permute((1, 2, 4, 3))(y)
            return layers.Reshape((h, w, self.rng.choice([c, -1])))(y)
        y = ops.reshape(x, (-1, h, w, 2, c // 2))
        return ops.reshape(ops.transpose(y, (0, 1, 2, 4, 3)), (-1, h, w, c))

    def pixel_shuffle(self, x):
        if x.shape[1] > 6:
            return self.spatial(x)
        y = layers.Conv2D(4 * self.width(), 1)(x)
        if self.rng.random() < 0.5:
            return ops.depth_to_space(y, 2)
        _, h, w, c = y.shape
        y = ops.reshape(y, (-1, h, w, 2, 2, c // 4))
        y = ops.transpose(y, (0, 1, 3, 2, 4, 5))
        return ops.reshape(y, (-1, 2 * h, 2 * w, c // 4))

    def split(self, x):
        c = x.shape[-1]
        if c < 2:
            return self.activated(x)
        if self.rng.random() < 0.3:
            return [x[..., : c // 2], x[..., c // 2 :]]
        parts = 2 if c % 2 == 0 else [1]
        return ops.split(x, parts, axis=-1)

    def picked(self, x):
        return x[..., 0:1] * x if self.rng.random() < 0.5 else x[..., ::2]

    def stacked(self, x):
        y = layers.Conv2D(x.shape[-1], 1)(x)
        stack = ops.stack([x, y], axis=1)
        first, second = ops.unstack(stack, axis=1)
        return first - second

    # Merges.

    def merged(self, x):
        fitting = [y for y in self.images if y.shape == x.shape and y is not x]
        if not fitting:
            y = layers.Conv2D(x.shape[-1], 1)(x)
        else:
            y = self.rng.choice(fitting)
            self.used.add(id(y))
        return self.rng.choice(
            [
                layers.Add(),
                layers.Subtract(),
                layers.Multiply(),
                layers.Average(),
                layers.Maximum(),
                lambda v: v[0] + v[1],
                lambda v: ops.where(v[0] > 0.0, v[0], v[1]),
                lambda v: ops.minimum(v[0], v[1]),
            ]
        )([x, y])

    def concatenated(self, x):
        fitting = [y for y in self.images if y.shape[1:3] == x.shape[1:3]]
        fitting = [y for y in fitting if y.shape[-1] + x.shape[-1] <= 16] or [x]
        y = self.rng.choice(fitting)
        self.used.add(id(y))
        if self.rng.random() < 0.3:
            return ops.concatenate([x, y], axis=-1)
        return layers.Concatenate()([x, y])

    def squeeze_excite(self, x):
        c = x.shape[-1]
        s = ops.mean(x, axis=(1, 2), keepdims=self.rng.random() < 0.5)
        s = layers.Reshape((1, 1, c))(s) if len(s.shape) == 2 else s
        s = layers.Conv2D(self.width(), 1, activation="relu")(s)
        s = layers.Conv2D(c, 1, activation="sigmoid")(s)
        return x * s

    def attention_map(self, x):
        kind = self.rng.choice(["conv", "mean"])
        if kind == "mean":
            return x * ops.mean(x, axis=-1, keepdims=True)
        return layers.Multiply()([x, layers.Conv2D(1, 3, padding="same")(x)])

    def gated(self, x):
        return ops.glu(layers.Conv2D(2 * self.width(), 1)(x), axis=-1)

    def residual(self, x):
        y = layers.BatchNormalization()(x)
        y = layers.Conv2D(self.width(), 3, padding="same", activation="relu")(y)
        y = layers.Conv2D(x.shape[-1], 3, padding="same")(y)
        return layers.Add()([x, y])

    def nested(self, x):
        inside = keras.Input(x.shape[1:])
        y = layers.Conv2D(self.width(), 1, activation="relu")(inside)
        y = layers.Add()([layers.Conv2D(x.shape[-1], 1)(y), inside])
        block = keras.Sequential(
            [keras.Input(x.shape[1:]), keras.Model(inside, y), layers.ReLU()]
        )
        once = block(x)
        return block(once) if self.rng.random() < 0.5 else once

    # Other ranks.

    def to_sequence(self, x):
        _, h, w, c = x.shape
        return layers.Reshape((h * w, c))(x) if h * w <= 64 else self.spatial(x)

    def to_vector(self, x):
        return layers.GlobalAveragePooling2D()(x)

    def sequence_convolution(self, x):
        kind = self.rng.choice([layers.Conv1D, layers.Conv1DTranspose])
        return kind(self.width(), 3, padding="same", activation="relu")(x)

    def recurrent(self, x):
        if x.shape[1] > 16:
            return layers.MaxPooling1D(2)(x)
        kind = self.rng.choice([layers.LSTM, layers.GRU, layers.SimpleRNN])
        if self.rng.random() < 0.2:
            mode = self.rng.choice(["concat", "sum", "mul", "ave"])
            return layers.Bidirectional(kind(self.width()), merge_mode=mode)(x)
        sequences = self.rng.random() < 0.5
        if self.rng.random() < 0.2:
            cells = [layers.LSTMCell(self.width()), layers.GRUCell(self.width())]
            return layers.RNN(cells, return_sequences=sequences)(x)
        return kind(self.width(), return_sequences=sequences)(x)

    def attended(self, x):
        heads = self.rng.choice([1, 2, 3])
        y = layers.MultiHeadAttention(heads, 2)(x, x)
        return x + y if self.rng.random() < 0.5 else y

    def pooled(self, x):
        return self.rng.choice(
            [layers.GlobalMaxPooling1D(), lambda v: ops.max(v, axis=1)]
        )(x)

    def repeated(self, x):
        return layers.RepeatVector(3)(x)


IMAGE_STEPS = [
    Builder.convolution, Builder.convolution, Builder.shared_convolution,
    Builder.depthwise, Builder.separable, Builder.transposed, Builder.dense,
    Builder.einsum, Builder.normalized, Builder.normalized, Builder.activated,
    Builder.spatial, Builder.shuffle, Builder.pixel_shuffle, Builder.split,
    Builder.picked, Builder.stacked, Builder.merged, Builder.merged,
    Builder.concatenated, Builder.squeeze_excite, Builder.attention_map,
    Builder.gated, Builder.residual, Builder.nested, Builder.to_sequence,
    Builder.to_vector,
]  # fmt: skip
SEQUENCE_STEPS = [
    Builder.sequence_convolution, Builder.recurrent, Builder.attended, Builder.pooled,
    Builder.dense, Builder.einsum, Builder.normalized, Builder.activated,
]  # fmt: skip
VECTOR_STEPS = [
    Builder.dense, Builder.dense, Builder.normalized, Builder.activated,
    Builder.repeated,
]  # fmt: skip


class MixingBuilder(Builder):
    """Grows networks with more that depends on all channels at once."""

    def steps_for(self, x):
        mixing = [MixingBuilder.normalized_across, MixingBuilder.of_all_channels]
        return super().steps_for(x) + 2 * mixing

    def normalized_across(self, x):
        kind = self.rng.choice(["layer", "rms", "unit", "group"])
        axes = self.rng.choice([-1, -1, [*range(1, len(x.shape))]])
        if kind == "layer":
            return layers.LayerNormalization(axis=axes)(x)
        if kind == "rms":
            return layers.RMSNormalization(axis=axes)(x)
        if kind == "unit":
            return layers.UnitNormalization(axis=axes)(x)
        divisors = [d for d in range(1, x.shape[-1] + 1) if x.shape[-1] % d == 0]
        # Of a vector, one channel in a group is its own mean.
        divisors = divisors if len(x.shape) > 2 else divisors[:-1] or [1]
        return layers.GroupNormalization(self.rng.choice(divisors))(x)

    def of_all_channels(self, x):
        """Something of each channel and of a number that depends on all."""
        reduce = self.rng.choice([ops.mean, ops.sum, ops.std, ops.max, ops.logsumexp])
        y = reduce(x, axis=-1, keepdims=True)
        return x / (1.0 + ops.abs(y)) if self.rng.random() < 0.5 else x + y


def random_graph(rng, nodes):
    """A random functional model with about `nodes` steps."""
    return MixingBuilder(rng, nodes).model()
