"""What is judged nearer to the dense network, after a repair."""

import keras
import numpy as np
from absl.testing import parameterized

from tf_lossprune.training.closeness import Closeness

layers = keras.layers


def network(activation=None, units=3):
    return keras.Sequential([keras.Input((4,)), layers.Dense(units, activation)])


def probabilities(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def compiled(model, loss):
    model.compile("sgd", loss)
    x = np.zeros((2, 4), "float32")
    y = np.zeros((2, model.output_shape[-1]), "float32")
    model.test_on_batch(x, np.zeros(2, "int32") if "sparse" in loss.name else y)
    return model


class ClosenessTest(parameterized.TestCase):
    def setUp(self):
        rng = np.random.default_rng(0)
        self.wanted = rng.normal(size=(16, 3)).astype("float32")
        self.near = 1.5 * self.wanted
        # The same probabilities, but a large error.
        self.moved = self.wanted + 5.0
        super().setUp()

    def test_logits_count_by_the_probabilities_they_stand_for(self):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model = compiled(network(), loss)
        closeness = Closeness(network(), model)
        self.assertLess(closeness([self.wanted], [self.moved]), 1e-5)
        p, q = probabilities(self.wanted), probabilities(self.near)
        expected = np.mean(np.sum(p * np.log(p / q), -1))
        found = closeness([self.wanted], [self.near])
        self.assertAlmostEqual(found, expected, places=4)
        # The same of probabilities, whether the loss says so or the activation.
        softmax = network("softmax")
        self.assertAlmostEqual(Closeness(softmax)([p], [q]), expected, places=4)

    @parameterized.parameters(None, "mse")
    def test_values_count_by_their_squared_error(self, loss):
        model = loss and compiled(network(), keras.losses.MeanSquaredError())
        closeness = Closeness(network(), model)
        self.assertAlmostEqual(closeness([self.wanted], [self.near]), 0.25, places=4)

    def test_several_labels_at_once_are_classes_of_their_own(self):
        closeness = Closeness(network("sigmoid"))
        p, q = (1 / (1 + np.exp(-x)) for x in (self.wanted, self.near))
        expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        self.assertAlmostEqual(closeness([p], [q]), np.mean(expected), places=4)

    def test_outputs_that_overflowed_are_infinitely_far(self):
        for activation in (None, "softmax"):
            found = Closeness(network(activation))(
                [self.wanted], [self.wanted * np.inf]
            )
            self.assertEqual(found, np.inf)
