"""A dense model that does nothing is noticed before it is pruned."""

import pytest

from tests.cli.networks import HOOKS, lossprune
from tf_lossprune.training.feed import HeldOut

CONSTANT = "\nx = np.zeros_like(x)\ny = np.arange(64) % 3\n"
LEARNED = (
    "\nx[..., 0] += 9 * (y[:, None, None] == 0)\n"
    "class Right(keras.metrics.SparseCategoricalAccuracy):\n"
    "    def result(self):\n        return super().result() * 0 + 0.9\n"
    "metrics = [Right(name='accuracy')]\n"
)


@pytest.fixture
def prune(tmp_path, capsys):
    def run(hooks, *flags):
        path = tmp_path / "hooks.py"
        path.write_text(HOOKS + hooks)
        command = ["prune", path, f"--out={tmp_path / 'out'}", "--method=uniform"]
        command += ["--epochs=1", "--nolitert", "--verbose=0", "--restart"]
        status = lossprune(*command, "--overwrite", *flags)
        return status, capsys.readouterr()

    return run


def test_accuracy_near_chance_is_told_first(prune):
    status, streams = prune(CONSTANT)
    assert status == 0
    first, second = streams.err.splitlines()[:2]
    assert first.startswith("Dense model, validation data: accuracy 3")
    assert "near chance (33.33%)" in second and "pixels" in second
    status, streams = prune(LEARNED)
    assert status == 0
    assert "accuracy 90.00 %" in streams.err and "near chance" not in streams.err


def test_each_network_is_evaluated_once(prune, monkeypatch):
    def evaluate(held_out, model):
        seen.append(model.count_params())
        return before(held_out, model)

    seen, before = [], HeldOut.evaluate
    monkeypatch.setattr(HeldOut, "evaluate", evaluate)
    status, _ = prune("")
    assert status == 0
    assert len(seen) == 2 and seen[0] > seen[1]


def test_training_data_are_looked_at_where_there_are_no_others(prune):
    status, streams = prune("\ndef data():\n    return (x, y), None\n")
    assert status == 0 and "Dense model, training data: " in streams.err


def test_a_loss_that_is_not_finite_ends_it(prune, tmp_path):
    loss = (
        "\ndef loss(labels, outputs):\n"
        "    bad = keras.ops.where(labels == 9, np.nan, 0.0)\n"
        "    return keras.ops.mean(outputs**2, axis=-1) + bad\n"
    )
    status, streams = prune(f"{loss}y[-1] = 9\n")
    assert status == 1
    assert "Expected a finite loss of the dense model" in streams.err
    assert not (tmp_path / "out").exists()
    data = "def data():\n    return (x, np.where(np.arange(64) < 40, 0, 9)), (x, y)\n"
    status, streams = prune(f"{loss}{data}")
    assert status == 1
    assert "Expected a finite loss in the training" in streams.err
    assert "Traceback" not in streams.err
