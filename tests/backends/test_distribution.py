"""`keras.distribution` on JAX: `fit` goes on across the cut."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution runs on JAX"
)


@pytest.fixture(scope="module")
def found():
    flags = "--xla_force_host_platform_device_count=2"
    out = subprocess.run(
        [sys.executable, "-m", "tests.training.two_jax_devices"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return json.loads(out.splitlines()[-1])


def test_fit_on_two_devices_cuts_and_goes_on_as_on_one(found):
    alone, two = found["alone"], found["data_parallel"]
    assert two["devices"] == 2
    assert two["compact"] and two["phase"][-1] == 2.0 > two["phase"][0]
    assert two["kept"] == alone["kept"] and two["slots"] == alone["slots"]
    np.testing.assert_allclose(two["loss"], alone["loss"], rtol=1e-4)
    for a, b in zip(alone["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_what_two_devices_trained_is_saved_loaded_and_delivered(found):
    two = found["data_parallel"]
    first, second = two["kept"].values()
    assert two["restored"]
    # Kernels, a normalisation of four numbers a channel, and the head.
    assert two["delivered"] == 8 * first + 4 * first + (first + 1) * second + (
        4 * second + 4
    )


def test_weights_in_parts_stay_in_parts(found):
    two = found["model_parallel"]
    first, second = two["kept"].values()
    assert two["compact"] and first % 2 == second % 2 == 0
    assert two["shards"]["first/kernel"] == [8, first // 2]
    assert two["shards"]["second/kernel"] == [first, second // 2]
    assert two["shards"]["head/kernel"] == [second, 4]


@pytest.mark.parametrize("widths", ["open", "given"])
def test_widths_that_devices_cannot_share_are_refused_before_training(found, widths):
    message = found["model_parallel"][widths]
    layer = "first" if widths == "open" else "second"
    assert f"layer '{layer}'" in message and "`channel_multiple=2`" in message
    assert "Received: " in message
