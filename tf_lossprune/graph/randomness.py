"""What a call does in training only, as layers of a flat model."""

import inspect

import keras
from keras import ops

from tf_lossprune import keras_internals as internals


@keras.saving.register_keras_serializable(package="tf_lossprune")
class InTraining(keras.layers.Layer):
    """Passes its first input on in inference and its second one in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._convert_input_args = False
        self.built = True

    def call(self, inference, in_training, training=None):
        return in_training if training else inference

    def compute_output_spec(self, inference, in_training, training=None):
        return keras.KerasTensor(inference.shape, inference.dtype)


@keras.saving.register_keras_serializable(package="tf_lossprune")
class RandomDraw(keras.layers.Layer):
    """A function of `keras.random`, in training; zeros, or its input, in inference.

    Args:
        function: string, its name.
        shape: tuple, None for the number of samples; or None: it is `"dropout"`.
        settings: dict of its other arguments, all of them numbers or strings.
        times: int, how often the number of samples counts.
        seed: `keras.random.SeedGenerator`, or its config.
    """

    def __init__(self, function, shape, settings, times=1, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.function, self.shape = function, shape and tuple(shape)
        self.settings, self.times = dict(settings), times
        if isinstance(seed, dict):
            seed = keras.random.SeedGenerator.from_config(seed)
        self.seed = seed
        self._convert_input_args = False
        self.built = True

    def call(self, inputs, training=None):
        draw = getattr(keras.random, self.function)
        if self.shape is None:
            return draw(inputs, **self.settings, seed=self.seed) if training else inputs
        count = ops.shape(inputs)[0] * self.times
        shape = [count if size is None else size for size in self.shape]
        if training:
            return draw(shape, **self.settings, seed=self.seed)
        return ops.zeros(shape, self._type())

    def compute_output_spec(self, inputs, training=None):
        if self.shape is None:
            return keras.KerasTensor(inputs.shape, inputs.dtype)
        count = inputs.shape[0] and inputs.shape[0] * self.times
        shape = [count if size is None else size for size in self.shape]
        return keras.KerasTensor(shape, self._type())

    def _type(self):
        return self.settings.get("dtype") or keras.config.floatx()

    def get_config(self):
        return {
            **super().get_config(),
            "function": self.function,
            "shape": self.shape and list(self.shape),
            "settings": self.settings,
            "times": self.times,
            "seed": self.seed.get_config(),
        }


def noted_draw(name, args, kwargs, number, refuse):
    """The `RandomDraw` that a call of a function of `keras.random` stands for.

    Args:
        name: string, the function.
        args, kwargs: what it was called with.
        number: int, what stands for the number of samples.
        refuse: function that is told why it cannot be noted.

    Returns:
        The layer, and the tensor it takes, or None: any.
    """
    function = internals.random_function(name)
    given = inspect.signature(function).bind(*args, **kwargs)
    given.apply_defaults()
    settings = dict(given.arguments)
    seed = settings.pop("seed")
    if not isinstance(seed, keras.random.SeedGenerator):
        refuse("it draws random numbers without a `SeedGenerator` of its own")
    x, shape, times = settings.pop("inputs", None), settings.pop("shape", None), 1
    if x is None:
        shape = list(shape)
        if shape and isinstance(shape[0], int) and shape[0] % number == 0:
            times, shape[0] = shape[0] // number, None
    elif settings.pop("noise_shape") is not None:
        refuse("it calls `keras.random.dropout` with a `noise_shape`")
    sizes = [] if shape is None else shape[1:] if shape[:1] == [None] else shape
    simple = [v is None or isinstance(v, (int, float, str)) for v in settings.values()]
    if not all(simple) or not all(isinstance(size, int) for size in sizes):
        refuse(f"it draws random numbers by tensors (keras.random.{name})")
    return RandomDraw(name, shape, settings, times, seed), x
