"""The same arithmetic in forms that TensorFlow computes faster, or at all, on CPUs.

Both change layers of Keras for this process, and nothing on other backends. They are
for benchmarks that train many narrow networks (`--fast_kernels`); then every run goes
through them, whatever its method.
"""

import functools

import keras


def install():
    """Lets this process compute with both of them."""
    if keras.backend.backend() == "tensorflow":
        _slice_before_strided_pointwise()
        _normalize_rows()


def _slice_before_strided_pointwise():
    """Lets 1x1 convolutions with strides read a slice instead.

    With `TF_ENABLE_ONEDNN_OPTS=1`, which halves the time of a training step on CPUs
    without AVX-512, the kernel gradient of such a convolution with fewer than 8 input
    channels writes beyond its buffer and ends the process (TensorFlow 2.21, AVX2).
    """
    original = keras.layers.Conv2D.convolution_op
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def convolution_op(self, inputs, kernel):
        if self.kernel_size != (1, 1) or self.strides == (1, 1):
            return original(self, inputs, kernel)
        rows, columns = self.strides
        if self.data_format == "channels_first":
            inputs = inputs[:, :, ::rows, ::columns]
        else:
            inputs = inputs[:, ::rows, ::columns]
        strides, self.strides = self.strides, (1, 1)
        try:
            return original(self, inputs, kernel)
        finally:
            self.strides = strides

    keras.layers.Conv2D.convolution_op = convolution_op


def _normalize_rows():
    """Lets batch normalisations see images as matrices of `width * channels` columns.

    Keras' broadcast over a last axis of a few channels, which TensorFlow does not
    vectorise, and take about 20 passes over the activations; this takes ten.
    """
    original = keras.layers.BatchNormalization.call
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def call(self, inputs, training=None, mask=None):
        plain = (
            mask is None
            and self.scale
            and self.center
            and not self.renorm
            and not self.synchronized
            and self.compute_dtype == "float32"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and None not in inputs.shape[1:]
        )
        if not plain:
            return original(self, inputs, training, mask)
        gamma, beta = self.gamma.value, self.beta.value
        if not (training and self.trainable):
            mean, variance = self.moving_mean.value, self.moving_variance.value
            return _affine(inputs, mean, variance, gamma, beta, self.epsilon)
        outputs, mean, variance = _batch_norm(inputs, gamma, beta, self.epsilon)
        for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
        return outputs

    keras.layers.BatchNormalization.call = call


def _rows(x):
    import tensorflow as tf

    return tf.reshape(x, [-1, x.shape[2] * x.shape[3]])


def _tile(vector, x):
    import tensorflow as tf

    return tf.tile(vector, [x.shape[2]])[None]


def _channel_sums(rows, x):
    """Sums `[channels]` over all but the last axis of `x`, given its rows."""
    import tensorflow as tf

    by_column = tf.reduce_sum(rows, axis=0)
    return tf.reduce_sum(tf.reshape(by_column, [x.shape[2], x.shape[3]]), axis=0)


def _affine(x, mean, variance, gamma, beta, epsilon):
    import tensorflow as tf

    scale = gamma * tf.math.rsqrt(variance + epsilon)
    y = _rows(x) * _tile(scale, x) + _tile(beta - mean * scale, x)
    return tf.reshape(y, tf.shape(x))


def _batch_norm(x, gamma, beta, epsilon):
    """Normalised `x`, and its mean and variance `[channels]`, without gradients."""
    import tensorflow as tf

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        rows = _rows(x)
        count = tf.cast(tf.size(x) // x.shape[3], x.dtype)
        mean = _channel_sums(rows, x) / count
        variance = _channel_sums(rows * rows, x) / count - mean * mean
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = gamma * inverse

        def gradient(by_y, *_):
            by_rows = _rows(by_y)
            by_beta = _channel_sums(by_rows, x)
            by_gamma = (_channel_sums(by_rows * rows, x) - mean * by_beta) * inverse
            # With h = (x - mean) * inverse:
            # dL/dx = scale * (dL/dy - by_beta / n - h * by_gamma / n)
            slope = -scale * inverse * by_gamma / count
            offset = -scale * by_beta / count - slope * mean
            by_x = by_rows * _tile(scale, x) + rows * _tile(slope, x) + _tile(offset, x)
            return tf.reshape(by_x, tf.shape(x)), by_gamma, by_beta

        y = rows * _tile(scale, x) + _tile(beta - mean * scale, x)
        return (tf.reshape(y, tf.shape(x)), mean, variance), gradient

    y, mean, variance = normalize(x, gamma, beta)
    return y, tf.stop_gradient(mean), tf.stop_gradient(variance)
