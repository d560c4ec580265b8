"""The table of what each layer costs, against counts made by hand."""

import keras
import pytest

import tf_lossprune
from tests.training import small
from tf_lossprune import report


def cells(table):
    return {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}


def test_costs_of_each_layer_beside_their_shares():
    found = cells(report.cost_table(small.network()))
    assert [*found] == ["first", "norm", "second", "head", "all"]
    assert found["second"][0] == str(16 * 16)
    assert found["norm"] == ["0", "0.0", "%", "64", "12.0", "%"]
    assert found["all"][:3] == [str(8 * 16 + 16 * 16 + 16 * 4), "100.0", "%"]


def test_costs_of_a_dense_and_a_compact_network_side_by_side():
    model = small.network()
    widths = {"first": 6, "second": 5}
    compact = tf_lossprune.strip_pruning(
        tf_lossprune.prune_model(model, 1.0, method="uniform", widths=widths)
    )
    found = cells(report.cost_table(model, compact))
    assert found["second"] == ["256", "30", "272", "35"]
    assert found["all"][1] == str(8 * 6 + 6 * 5 + 5 * 4)
    assert found["all"][3] == str(compact.count_params())
    only = cells(report.cost_table(model, compact, resources=["params"]))
    assert only["head"] == ["68", "24"]
    with pytest.raises(TypeError, match="Received: "):
        report.cost_table(keras.layers.Dense(3))
