"""Shared by all tests: determinism, and what keeps a process of many tests sound."""

import gc
import os
import tempfile

if "PYTEST_XDIST_WORKER" in os.environ:
    # Thread pools of several processes on the same cores get in each other's way.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

# No test finds or leaves a calibration of this machine.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="lossprune_tests_")

import keras  # noqa: E402
import pytest  # noqa: E402

# What the imports made stays; no collection has to walk through it again. Traced
# functions make garbage by the ten thousands, among what is alive: look for it rarely.
gc.freeze()
gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    keras.utils.set_random_seed(1234)


@pytest.fixture(autouse=True, scope="module")
def programs_dropped():
    """Drops compiled programs; of thousands, each in memory maps, a process crashes."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
        gc.collect()
