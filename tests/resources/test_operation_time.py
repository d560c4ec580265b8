"""Times between measured widths, on kernels whose law is known."""

import itertools
import json
import re

import keras
import numpy as np
import pytest

import tf_lossprune
from examples import models
from tests.resources.test_latency import of_this_law, table_of, tiled
from tf_lossprune.graph import analyze
from tf_lossprune.resources import LatencyTable
from tf_lossprune.resources.latency_table import NETWORK
from tf_lossprune.resources.network_fit import (
    fit_factors,
    operation_kind,
    operations_text,
    sample_widths,
)
from tf_lossprune.resources.operation import OperationTime, nonnegative
from tf_lossprune.resources.probes import call_probes, executed_calls

layers = keras.layers


def whole(width):
    return -(-width // 8) * 8


LAWS = {
    "tiles of outputs": lambda i, o: 5 + i * whole(o),
    "tiles of both sides": lambda i, o: 5 + whole(i) * whole(o),
    "slow inside of a tile": lambda i, o: 5 + i * whole(o) * (1.2 if o % 8 else 1.0),
    "slow narrow kernels": lambda i, o: 5 + i * whole(o) * (1.5 if o <= 16 else 1.0),
}


def probes_of(layer, given=64, groups=2):
    """The probes of a layer between two convolutions whose channels may go."""
    x = keras.Input((4, 4, 3))
    y = layer(layers.Conv2D(given, 1)(x))
    y = layers.Conv2D(2, 1)(y)
    channels = analyze(keras.Model(x, y))
    (call,) = [c for c in executed_calls(channels) if c.operation is layer]
    return call_probes(channels, call)


@pytest.mark.parametrize("name", LAWS)
def test_steps_of_a_kernel_on_both_sides(name):
    law = LAWS[name]
    probes = probes_of(layers.Conv2D(96, 3))
    assert len(probes) < 30
    time = OperationTime(
        np.array([(p.inputs, p.outputs, law(p.inputs, p.outputs)) for p in probes])
    )
    errors = [
        time(i, o) / law(i, o) - 1.0
        for i, o in itertools.product(range(13, 65), range(12, 97))
    ]
    assert np.abs(errors).max() < 0.04


def test_depthwise_kernels_have_steps_too():
    def law(width):
        return 2 + whole(width) * (1.14 if width % 8 else 1.0)

    probes = probes_of(layers.DepthwiseConv2D(3))
    time = OperationTime(
        np.array([(p.inputs, p.outputs, law(p.outputs)) for p in probes])
    )
    errors = [time(w, w) / law(w) - 1.0 for w in range(8, 65)]
    assert np.abs(errors).max() < 0.04


def test_moved_bytes_have_none():
    probes = probes_of(layers.UpSampling2D())
    assert len(probes) == 3
    points = np.array([(p.inputs, p.outputs, 3 + 0.5 * p.outputs) for p in probes])
    time = OperationTime(points, stepped=False)
    for width in (16, 21, 33, 50, 64):
        assert time(width, width) == pytest.approx(3 + 0.5 * width)
    assert time(8, 8) == pytest.approx(3 + 0.5 * 8)  # less than was measured


def test_nonnegative_least_squares():
    rng = np.random.default_rng(0)
    features = rng.uniform(size=(12, 4))
    truth = np.array([0.5, 0.0, 2.0, 1.0])
    np.testing.assert_allclose(nonnegative(features, features @ truth), truth, 1e-6)
    found = nonnegative(features, features @ [1.0, -2.0, 1.0, 0.0])
    assert (found >= 0).all()


def test_factors_of_kinds_come_from_networks():
    rng = np.random.default_rng(0)
    parts = rng.uniform(0.2, 1.0, (6, 4)) * np.linspace(1.0, 0.2, 6)[:, None]
    entries = np.linspace(1e6, 1e5, 6)
    times = parts @ [1.0, 1.4, 0.9, 1.1] + 2e-7 * entries
    factors, fetching = fit_factors(parts, entries, times)
    fitted = parts @ factors + fetching * entries
    assert fitted[0] == pytest.approx(times[0])
    error = np.abs(fitted / times - 1.0).max()
    assert error < 0.04
    one = times[0] / parts[0].sum()
    assert error < 0.5 * np.abs(one * parts.sum(1) / times - 1.0).max()
    # Of the dense network alone: a table of old.
    alone, fetching = fit_factors(parts[:1], entries[:1], times[:1])
    fitted = parts[0] @ alone + fetching * entries[0]
    assert fitted == pytest.approx(times[0])


def test_networks_correct_what_single_operations_do_not_tell():
    """In a network, depthwise kernels take four times as long as alone."""

    def alone(text, i, o):
        depthwise = operation_kind(text) == "depthwise"
        return 0.02 * whole(o) if depthwise else tiled(text, i, o)

    def alike(text, i, o):
        factor = 4.0 if operation_kind(text) == "depthwise" else 1.0
        return factor * alone(text, i, o)

    model = models.build("mobilenet_v1", width=16)
    channels = analyze(model)
    rows = [row for row in table_of(model, alone).rows if row[0] != NETWORK]
    plain = [*rows, (NETWORK, 1, 1, 1, of_this_law(model, alike))]
    more = list(plain)
    for keep in sample_widths(channels):
        text = f"{NETWORK} {operations_text(channels, keep)}"
        compact = tf_lossprune.surgery.cut(channels, keep)
        more.append((text, 1, 1, 0, of_this_law(compact, alike)))
    errors = {"plain": [], "more": []}
    for share in (0.6, 0.3):
        pruned = tf_lossprune.prune_model(model, {"macs": share}, method="magnitude")
        compact = tf_lossprune.strip_pruning(pruned, check=False)
        truth = of_this_law(compact, alike)
        for name, these in (("plain", plain), ("more", more)):
            predicted = LatencyTable(these, {}).predict(compact)
            errors[name].append(abs(predicted / truth - 1.0))
    assert max(errors["more"]) < 0.6 * max(errors["plain"])
    assert max(errors["more"]) < 0.06


def test_networks_of_other_widths_are_described_by_what_they_execute():
    model = models.build("digits_resnet", width=8)
    channels = analyze(model)
    all_kept = np.ones(channels.num_units + 1, bool)
    dense = json.loads(operations_text(channels, all_kept))
    for keep in sample_widths(channels):
        found = json.loads(operations_text(channels, keep))
        assert [entry[0] for entry in found] == [entry[0] for entry in dense]
        assert all(re.fullmatch("[0-9a-f]{12}", entry[0]) for entry in found)
        assert sum(e[2] for e in found) < sum(e[2] for e in dense)
