"""What a search's gradient says, and the variant that moves by its size."""

import keras
import numpy as np
import pytest
from keras import ops

from benchmarks import common, noise, variants
from examples import data as example_data
from tf_lossprune.methods import Loss


@pytest.mark.parametrize("method", [Loss(), variants.Fisher(rate=0.05)])
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
    assert len(lines) == 2 + len(search.channels.groups) + 2


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_only_gates_that_are_on_say_what_they_are_worth(power):
    method = variants.Fisher(power=power, decay=0.5)
    assert variants.Fisher(**method.get_config()).get_config() == method.get_config()
    data = common.load_data("digits", 128)
    dense = common.build_dense("digits_resnet", data, 4)
    train, _, _ = example_data.datasets(data, batch_size=32, use_validation=False)
    optimizer = keras.optimizers.SGD(0.05)
    options = {"steps": 4, "last": 1}
    search = noise.run(dense, train, {"macs": 0.5}, method, optimizer, **options)
    before = ops.convert_to_numpy(search.fisher)
    draw = search.begin_step()
    gates = ops.convert_to_numpy(draw.gates)
    gradient = np.full(gates.shape, -0.5, "float32")
    search.end_step(draw, ops.convert_to_tensor(gradient), keras.optimizers.SGD(0.0))
    wanted = np.where(gates > 0, 0.5 * before + 0.5 * 0.5**power, before)
    np.testing.assert_allclose(
        ops.convert_to_numpy(search.fisher), wanted, rtol=1e-5, atol=1e-8
    )
    assert (gates[1:] == 0).any() and (gates[1:] > 0).any()
