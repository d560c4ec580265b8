"""Shared by all tests: determinism, and what several workers must not share."""

import gc
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Thread pools of several processes on the same cores get in each other's way.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    # JAX writes the entries of its cache in place: others might read half of one.
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] += (
            f"/{os.environ['PYTEST_XDIST_WORKER']}"
        )

import keras  # noqa: E402
import pytest  # noqa: E402

# What the imports made stays; no collection has to walk through it again.
gc.freeze()


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    keras.utils.set_random_seed(1234)
