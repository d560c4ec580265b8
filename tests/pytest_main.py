"""Runs pytest on the files named on the command line (the Bazel targets use it)."""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest  # noqa: E402

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
