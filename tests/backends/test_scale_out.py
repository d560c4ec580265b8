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


@pytest.mark.long
class ScaleOutTest(parameterized.TestCase):
    def check_same(self, expected, found):
        self.assertEqual(found["widths"], expected["widths"])
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-2)

    @parameterized.parameters(
        ("examples.data_parallel", "jax"), ("examples.mirrored", "tensorflow")
    )
    def test_devices(self, module, backend):
        found = []
        with tempfile.TemporaryDirectory() as folder:
            for count in (1, 2):
                options = [f"--devices={count}"] if backend == "tensorflow" else []
                run = start(
                    folder, count, module, *options, backend=backend, devices=count
                )
                found.append(finish(*run))
        self.check_same(*found)

    def test_processes(self):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory() as folder:
            alone = finish(*start(folder, "alone", "examples.data_parallel"))
            together = [
                start(
                    folder,
                    f"process{index}",
                    "examples.data_parallel",
                    "--processes=2",
                    f"--process={index}",
                    f"--coordinator=localhost:{port}",
                )
                for index in range(2)
            ]
            for run in together:
                self.check_same(alone, finish(*run))
