"""What a search's gradient says, and the variant that moves by its size."""

import keras
import numpy as np
import pytest
from keras import ops

from benchmarks import common
from benchmarks.lab import noise, variants
from examples import data as example_data
from tf_lossprune.methods import Loss


@pytest.mark.parametrize(
    "method", [Loss(order=1), variants.Fisher(power=1.0, rate=0.05)]
)
def test_sums_are_those_of_the_last_steps(method):
    data = common.load_data("digits", 128)
    keras.utils.set_random_seed(0)
    dense = common.build_dense("digits_resnet", data, 4)
    train, _, _ = example_data.datasets(data, batch_size=32, use_validation=False)
    optimizer = keras.optimizers.SGD(0.05)
    options = {"steps": 12, "last": 5}
    search = noise.run(dense, train, {"macs": 0.5}, method, optimizer, **options)
    assert float(ops.convert_to_numpy(search.count)) == 5
    mean, spread = noise.signal(search)
    assert np.all(np.isfinite(mean)) and np.any(mean != 0) and np.any(spread > 0)
    # The gradient has moved the ratios, and the budget is kept.
    assert np.ptp(ops.convert_to_numpy(search.log_ratio)) > 0
    assert float(search.costs[0].fraction(search.ratios())) <= 0.5 + 1e-3
    lines = noise.table(search).splitlines()
    assert len(lines) == 2 + len(search.channel_graph.groups) + 2
