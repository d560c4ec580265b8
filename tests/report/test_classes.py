"""Accuracy per class: counted from the outputs of the models."""

import keras
import numpy as np
import pytest

from tf_lossprune import report


def model(outputs, activation=None):
    """Its outputs are its first inputs."""
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(outputs, activation=activation, use_bias=False)
    network = keras.Model(inputs, dense(inputs))
    network.layers[-1].set_weights([np.eye(4, outputs)])
    return network


def test_classes_and_what_they_are_confused_with():
    scores = np.eye(4, dtype="float32")[[0, 0, 1, 2, 2, 2]]
    labels = np.array([0, 1, 1, 2, 2, 0])
    compact = model(3)
    compact.layers[-1].set_weights([np.eye(4, 3)[[1, 1, 2, 3]]])  # 0 becomes 1
    found = report.class_figures(
        model(3), compact, (scores, labels), ["a", "b", "c"], batch_size=4
    )
    assert found["names"] == ["a", "b", "c"] and found["count"] == [2, 2, 2]
    assert found["dense"] == [1, 1, 2] and found["compact"] == [0, 2, 2]
    assert found["confusion"] == [[0, 1, 1], [0, 2, 0], [0, 0, 2]]
    one_hot = np.eye(3)[labels]
    again = report.class_figures(model(3), compact, (scores, one_hot))
    assert again == {**found, "names": ["0", "1", "2"]}


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_score_of_two_classes(activation):
    scores = np.array([[2.0], [-2.0], [0.5]]) * np.ones((1, 4))
    network = model(1, activation)
    found = report.class_figures(network, network, (scores, np.array([1, 0, 0])))
    assert found["count"] == [2, 1] and found["compact"] == [1, 1]


@pytest.mark.parametrize(
    "labels",
    [
        np.full((6, 3), 0.5),
        np.array([0.0, 0.5, 1.0, 2.0, 0.0, 0.0]),
        np.array([0, 1, 2, 3, 0, 0]),
        np.array([[1, 1, 0]] * 6),
    ],
)
def test_what_is_no_class_is_left_out(labels):
    scores = np.ones((6, 4), "float32")
    assert report.class_figures(model(3), model(3), (scores, labels)) is None


def test_maps_have_no_classes_of_samples():
    inputs = keras.Input((4, 4, 2))
    network = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    data = np.ones((2, 4, 4, 2)), np.ones((2, 4, 4))
    assert report.class_figures(network, network, data) is None
