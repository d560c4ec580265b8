"""Model files that the tests of the command line share."""

import pytest

import tf_lossprune
from tests.cli.networks import HOOKS, network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `dense.keras`, `pruned.keras` and `hooks.py`."""
    path = tmp_path_factory.mktemp("models")
    model = network()
    model.save(path / "dense.keras")
    pruned = tf_lossprune.prune_model(model, {"macs": 0.5}, method="uniform")
    pruned.save(path / "pruned.keras")
    (path / "hooks.py").write_text(HOOKS)
    return path
