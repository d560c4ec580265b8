"""What is cut is predicted from what stays, by least squares."""

import importlib
from unittest import mock

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

import tf_lossprune
from tf_lossprune.differences import relative_error
from tf_lossprune.graph import analyze
from tf_lossprune.surgery import cut
from tf_lossprune.training import readers, repair

layers = keras.layers
# The module, of which the package has the function.
formula = importlib.import_module("tf_lossprune.training.repair")
dense_moments = importlib.import_module("tf_lossprune.training.dense_moments")


def normalised_convolutions():
    inputs = keras.Input((8, 9, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def residual():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    y = layers.Conv2D(8, 3, padding="same")(layers.Conv2D(6, 1)(x))
    x = layers.Add()([x, y])
    a, b = layers.Conv2D(5, 3)(x), layers.Conv2D(5, 3, dilation_rate=2)(x)
    found = [layers.GlobalAveragePooling2D()(v) for v in (a, b)]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(found)))


def concatenation():
    inputs = keras.Input((8, 8, 3))
    a, b = layers.Conv2D(8, 3)(inputs), layers.Conv2D(6, 3)(inputs)
    x = layers.Conv2D(5, 2)(layers.Concatenate()([a, b]))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def flattened():
    inputs = keras.Input((6, 6, 3))
    x = layers.AveragePooling2D(2)(layers.Conv2D(8, 3)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def depthwise_between():
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3)(inputs)))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(6, 1, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def grouped_and_transposed():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    x = layers.Conv2D(8, 3, groups=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(6, 3, 2, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def shared():
    a, b = keras.Input((8, 8, 3)), keras.Input((10, 10, 3))
    tower = layers.Conv2D(8, 3, activation="relu")
    again = layers.Conv2D(6, 3, padding="same", activation="relu")
    found = [layers.GlobalAveragePooling2D()(again(tower(v))) for v in (a, b)]
    return keras.Model([a, b], layers.Dense(3)(layers.Concatenate()(found)))


def sequences():
    inputs = keras.Input((12, 4))
    x = layers.Conv1D(8, 3, padding="causal", activation="relu")(inputs)
    x = layers.Conv1D(8, 3, 1, "causal", dilation_rate=2, activation="relu")(x)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.EinsumDense("abc,cd->abd", (12, 8), bias_axes="d")(x)
    x = layers.GRU(8, return_sequences=True)(x)
    x = layers.EinsumDense("abc,cde->abde", (12, 2, 4), bias_axes="de")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def attention():
    inputs = keras.Input((6, 4))
    x = layers.Dense(8, activation="relu")(inputs)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


LINEAR = (normalised_convolutions, residual, concatenation, flattened)
OTHERS = (
    depthwise_between,
    grouped_and_transposed,
    shared,
    sequences,
    attention,
)


def randomised(make):
    """The network with random weights and statistics but no memory, and inputs."""
    keras.utils.set_random_seed(0)
    model, rng = make(), np.random.default_rng(0)
    for weight in model.weights:
        value = rng.normal(0.0, 0.4, weight.shape)
        value = abs(value) + 0.5 if "variance" in weight.path else value
        weight.assign(0 * value if "recurrent_kernel" in weight.path else value)
    x = [rng.normal(size=(96, *t.shape[1:])).astype("float32") for t in model.inputs]
    return model, x if len(x) > 1 else x[0]


def half(channel_graph):
    """The first half of each group stays."""
    keep = np.ones(channel_graph.num_units + 1, bool)
    for group in channel_graph.groups:
        if "attention" not in group.name:
            keep[group.units[group.size // 2 :]] = False
    return keep


def depend(channel_graph, keep, mix):
    """Makes removed channels combinations of kept ones, in everything that makes them.

    Args:
        mix: function from how many are kept and removed to a matrix.
    """
    for record in channel_graph.records.values():
        if mix is combined and isinstance(record.layer, layers.BatchNormalization):
            continue
        for name, axes in record.weights.items():
            variable = record.weight(name)
            for axis, units in axes.items():
                if axis in record.gates.get(name, ()):
                    continue
                value = np.moveaxis(ops.convert_to_numpy(variable.value), axis, 0)
                value = value.copy()
                for group in channel_graph.groups:
                    kept, gone = (
                        [
                            np.flatnonzero(units == u)
                            for u in group.units
                            if keep[u] == k
                        ]
                        for k in (True, False)
                    )
                    if not gone or not len(gone[0]):
                        continue
                    matrix = mix(len(kept), len(gone))
                    rows = np.stack([value[at] for at in kept])
                    for at, row in zip(gone, np.einsum("kg,k...->g...", matrix, rows)):
                        value[at] = row
                variable.assign(np.moveaxis(value, 0, axis))


def combined(kept, gone):
    return np.random.default_rng(1).normal(0.0, 0.7, (kept, gone))


def copied(kept, gone):
    return np.eye(kept, gone)


def batches(x, size=24):
    many = isinstance(x, list)
    for i in range(0, 96, size):
        yield ([v[i : i + size] for v in x] if many else x[i : i + size], None)


def cut_and_repaired(model, x):
    """The outputs of the dense, the cut and the repaired model; and the `Repair`."""
    channel_graph = analyze(model)
    keep = half(channel_graph)
    compact = cut(channel_graph, keep)
    before = compact.predict(x, verbose=0)
    done = repair(channel_graph, keep, compact, batches(x))
    return model.predict(x, verbose=0), before, compact.predict(x, verbose=0), done


class RepairTest(parameterized.TestCase):
    @parameterized.product(make=LINEAR, most=[readers.MOST_INPUTS, 1])
    def test_a_linear_combination_of_kept_channels_goes_without_any_change(
        self, make, most
    ):
        model, x = randomised(make)
        for layer in model.layers:  # as it is new, it passes combinations on
            if isinstance(layer, layers.BatchNormalization):
                layer.set_weights([np.full(8, v) for v in (1, 0, 0, 1)])
        channel_graph = analyze(model)
        keep = half(channel_graph)
        depend(channel_graph, keep, combined)
        with mock.patch.object(readers, "MOST_INPUTS", most):
            dense, before, after, done = cut_and_repaired(model, x)
        size = np.abs(dense).max()
        self.assertGreater(np.abs(before - dense).max(), 0.05 * size)
        np.testing.assert_allclose(after, dense, atol=2e-4 * size)
        self.assertLess(max(done.unexplained.values()), 1e-5)

    @parameterized.parameters(*OTHERS)
    def test_a_copy_of_a_kept_channel_goes_without_any_change(self, make):
        model, x = randomised(make)
        channel_graph = analyze(model)
        depend(channel_graph, half(channel_graph), copied)
        dense, before, after, done = cut_and_repaired(model, x)
        size = np.abs(dense).max()
        self.assertGreater(np.abs(before - dense).max(), 0.01 * size)
        np.testing.assert_allclose(after, dense, atol=1e-3 * size)
        inside = "it reads what its layer makes inside"  # two recurrent layers' states
        self.assertEqual(set(done.left.values()), {inside} if done.left else set())
        self.assertLen(done.left, 2 if make is sequences else 0)

    @parameterized.product(
        padding=["same", "valid"], strides=[1, 2], dilation=[1, 2], normalized=[0, 1]
    )
    def test_a_convolution_gets_the_least_squares_solution(
        self, padding, strides, dilation, normalized
    ):
        """NumPy's, of the activations themselves and with an intercept."""
        if strides == dilation == 2:
            self.skipTest("Keras has no such convolution")
        keras.utils.set_random_seed(0)
        inputs = keras.Input((9, 8, 2))
        x = layers.Conv2D(6, 3, activation="relu", name="first")(inputs)
        x = layers.Conv2D(
            4, (3, 2), strides, padding, dilation_rate=dilation, name="second",
            use_bias=not normalized,
        )(x)  # fmt: skip
        if normalized:
            x = layers.BatchNormalization(name="norm")(x)
        model = keras.Model(inputs, layers.Flatten()(x))
        images = np.random.default_rng(0).normal(size=(96, 9, 8, 2)).astype("float32")
        second = model.get_layer("second")
        before = keras.Model(inputs, second.output).predict(images, verbose=0)
        read = keras.Model(inputs, second.input).predict(images, verbose=0)
        channel_graph = analyze(model)
        keep = np.ones(channel_graph.num_units + 1, bool)
        keep[channel_graph.groups[0].units[[1, 4]]] = False
        rows = [
            taps_of(image[..., [0, 2, 3, 5]], second) for image in read
        ]  # of each image [positions, taps * channels]
        rows = np.concatenate(rows)
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        wanted = np.linalg.lstsq(rows, before.reshape(len(rows), 4), rcond=None)[0]
        compact = cut(channel_graph, keep)
        with mock.patch.object(formula, "RIDGES", (1e-9,)):
            repair(channel_graph, keep, compact, batches(images))
        new = compact.get_layer("second")
        kernel = ops.convert_to_numpy(new.kernel.value).reshape(-1, 4)
        np.testing.assert_allclose(kernel, wanted[:-1], atol=1e-4)
        if normalized:
            constant = -ops.convert_to_numpy(
                compact.get_layer("norm").moving_mean.value
            )
        else:
            constant = ops.convert_to_numpy(new.bias.value)
        np.testing.assert_allclose(constant, wanted[-1], atol=1e-4)

    def test_a_kernel_with_shared_coefficients_gets_them_of_the_channels(self):
        """Above `MOST_INPUTS`: NumPy's of the channels, and the mean of the border."""
        keras.utils.set_random_seed(0)
        inputs = keras.Input((9, 8, 2))
        x = layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
        x = layers.Conv2D(4, (3, 2), padding="same", name="second")(x)
        model = keras.Model(inputs, layers.Flatten()(x))
        images = np.random.default_rng(0).normal(size=(96, 9, 8, 2)).astype("float32")
        second = model.get_layer("second")
        read = keras.Model(inputs, second.input).predict(images, verbose=0)
        kernel = second.get_weights()[0]
        channel_graph = analyze(model)
        keep = np.ones(channel_graph.num_units + 1, bool)
        keep[channel_graph.groups[0].units[[1, 4]]] = False
        flat = read.reshape(-1, 6).astype("float64")
        rows = np.concatenate([flat[:, [0, 2, 3, 5]], np.ones((len(flat), 1))], axis=1)
        found = np.linalg.lstsq(rows, flat[:, [1, 4]], rcond=None)[0]
        compact = cut(channel_graph, keep)
        with (
            mock.patch.object(formula, "RIDGES", (1e-9,)),
            mock.patch.object(readers, "MOST_INPUTS", 4),
        ):
            repair(channel_graph, keep, compact, batches(images))
        new, bias = compact.get_layer("second").get_weights()
        wanted = kernel[:, :, [0, 2, 3, 5]] + np.einsum(
            "kr,hwro->hwko", found[:4], kernel[:, :, [1, 4]]
        )
        np.testing.assert_allclose(new, wanted, atol=1e-4)
        image = np.broadcast_to(found[4].astype("float32"), (1, 9, 8, 2))
        constant = ops.conv(image, kernel[:, :, [1, 4]], padding="same")
        constant = ops.convert_to_numpy(constant).mean((0, 1, 2))
        np.testing.assert_allclose(bias, constant, atol=1e-4)

    def test_the_dense_weights_stay_and_the_same_inputs_give_the_same_repair(self):
        model, x = randomised(residual)
        before = [w.copy() for w in model.get_weights()]
        channel_graph = analyze(model)
        keep = half(channel_graph)
        found = []
        for _ in range(2):
            compact = cut(channel_graph, keep)
            repair(channel_graph, keep, compact, batches(x))
            found.append(compact.get_weights())
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_inputs_in_a_list_are_all_read(self):
        a, b = keras.Input((4,)), keras.Input((4,))
        y = layers.Concatenate()([layers.Dense(8)(a), layers.Dense(8)(b)])
        model = keras.Model([a, b], layers.Dense(3)(y))
        x = [np.random.default_rng(i).normal(size=(64, 4)) for i in range(2)]
        pruned = tf_lossprune.prune_model(
            model, {"macs": 0.6}, method="uniform", channel_multiple=1
        )
        errors = [
            relative_error(
                model(x), tf_lossprune.strip_pruning(pruned, calibration=images)(x)
            )
            for images in (None, x)
        ]
        # Each layer makes eight channels of four numbers.
        self.assertLess(errors[1], 0.1 * errors[0])

    def test_too_few_inputs_and_overflowing_ones_are_refused(self):
        model, x = randomised(flattened)
        channel_graph = analyze(model)
        keep = half(channel_graph)
        compact = cut(channel_graph, keep)
        with self.assertRaisesRegex(ValueError, "at least two samples"):
            repair(channel_graph, keep, compact, [x[:1]])
        with self.assertRaisesRegex(ValueError, "NaN or Inf in what 'dense.*kernel'"):
            repair(channel_graph, keep, compact, [x * np.inf])

    def test_large_tensors_are_taken_one_after_the_other(self):
        """With the same result as all at once."""
        model, x = randomised(concatenation)
        with mock.patch.object(dense_moments, "ENTRIES_AT_ONCE", 1):
            _, _, one_by_one, _ = cut_and_repaired(model, x)
        _, _, at_once, _ = cut_and_repaired(model, x)
        np.testing.assert_allclose(one_by_one, at_once, rtol=1e-5)


def taps_of(image, layer):
    """What a convolution reads at each position, `[positions, taps * channels]`.

    As TensorFlow pads: `valid`, or zeros so that no position is lost.
    """
    (height, width), (step_y, step_x) = layer.kernel_size, layer.dilation_rate
    stride = layer.strides[0]
    reach = np.array([(height - 1) * step_y, (width - 1) * step_x])
    if layer.padding == "same":
        outputs = -(-np.array(image.shape[:2]) // stride)
        missing = np.maximum((outputs - 1) * stride + reach + 1 - image.shape[:2], 0)
        before = missing // 2
        image = np.pad(image, [*zip(before, missing - before), (0, 0)])
    rows = []
    for top in range(0, image.shape[0] - reach[0], stride):
        for left in range(0, image.shape[1] - reach[1], stride):
            part = image[top : top + reach[0] + 1 : step_y]
            rows.append(part[:, left : left + reach[1] + 1 : step_x].reshape(-1))
    return np.stack(rows)
