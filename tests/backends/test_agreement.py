"""TensorFlow and JAX learn the same; each runs in a process of its own."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from absl.testing import parameterized

ROOT = pathlib.Path(__file__).resolve().parents[2]


def trace(backend, *options):
    """Ratios' logarithms after each step and kept channels on a backend."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.npz")
        subprocess.run(
            [sys.executable, "-m", "tests.backends.trace_ratios", path, *options],
            check=True,
            cwd=ROOT,
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
        )
        with np.load(path) as found:
            return found["rows"], found["kept"]


@pytest.mark.long
class AgreementTest(parameterized.TestCase):
    def test_same_ratios_with_the_defaults(self):
        """Steep gates double any rounding error every few steps, so 20 of them."""
        (a, _), (b, _) = (trace(k, "--steps=20") for k in ("tensorflow", "jax"))
        self.assertEqual(a.shape, (20, 6))
        self.assertGreater(np.abs(a[-1]).max(), 0.05)  # they have moved
        np.testing.assert_allclose(np.exp(a), np.exp(b), atol=1e-3)

    @parameterized.parameters((1, 200, 0.5), (2, 60, 0.2))
    def test_same_ratios_after_many_steps(self, order, steps, moved):
        """Gates that stay soft, and weights that move slowly, forget errors.

        The second order forgets fewer: after 200 steps the ratios differ by up to
        0.01, though the same channels are kept.
        """
        options = ("--variance=0.15", "--rate=0.0001", f"--order={order}")
        options += (f"--steps={steps}",)
        (a, kept), (b, other) = (trace(k, *options) for k in ("tensorflow", "jax"))
        self.assertEqual(a.shape, (steps, 6))
        self.assertGreater(np.abs(a[-1]).max(), moved)
        np.testing.assert_allclose(np.exp(a), np.exp(b), rtol=0, atol=1e-3)
        np.testing.assert_array_equal(kept, other)
