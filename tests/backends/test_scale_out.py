"""Several devices and several processes learn what one device learns."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from absl.testing import parameterized

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: Few steps: the steep gates of a search double rounding errors.
OPTIONS = ("--epochs=2", "--limit=512", "--deterministic")


def start(folder, name, module, *options, backend="jax", devices=1):
    """Starts an example; returns the process and the path of its result."""
    path = os.path.join(folder, f"{name}.json")
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", module, f"--out={path}", *OPTIONS, *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process, path


def finish(process, path):
    """Waits for an example and reads its result."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    with open(path) as file:
        return json.load(file)


def free_port():
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.mark.long
class ScaleOutTest(parameterized.TestCase):
    def check_same(self, expected, found):
        self.assertEqual(found["widths"], expected["widths"])
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-2)

    def test_mirrored(self):
        with tempfile.TemporaryDirectory() as folder:
            alone, two = (
                finish(
                    *start(
                        folder,
                        count,
                        "examples.mirrored",
                        f"--devices={count}",
                        backend="tensorflow",
                    )
                )
                for count in (1, 2)
            )
        self.check_same(alone, two)

    def test_data_parallel(self):
        """Four devices, and two processes, against one; test_distribution has two."""
        module = "examples.data_parallel"
        with tempfile.TemporaryDirectory() as folder:
            alone, four = (
                finish(*start(folder, f"devices{count}", module, devices=count))
                for count in (1, 4)
            )
            coordinator = f"--coordinator=localhost:{free_port()}"
            both = [
                start(
                    folder,
                    f"process{index}",
                    module,
                    "--processes=2",
                    f"--process={index}",
                    coordinator,
                )
                for index in range(2)
            ]
            first, second = (finish(*run) for run in both)
        for found in (four, first):
            self.check_same(alone, found)
        self.assertEqual(first, second)
