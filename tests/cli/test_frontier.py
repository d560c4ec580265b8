"""Several budgets in one command, and rehearsals of commands."""

import json

import keras
import pytest

import tf_lossprune
from tests.cli.networks import HOOKS, lossprune
from tf_lossprune.budget_text import parse_budgets


@pytest.fixture
def hooks(tmp_path):
    path = tmp_path / "hooks.py"
    path.write_text(HOOKS)
    return path


def test_frontier(capsys, tmp_path, hooks):
    out = tmp_path / "new" / "out"
    command = ["frontier", hooks, "--budgets=macs=25%,macs=0.5", f"--out={out}"]
    flags = ["--epochs=2", "--batch_size=16", "--nolitert", "--verbose=2", "--json"]
    assert lossprune(*command, *flags, "--channel_multiple=1") == 0
    streams = capsys.readouterr()
    data = json.loads(streams.out)
    log = streams.err.splitlines()
    assert log[0].startswith("Dense model, validation data: ")
    assert "search: epoch 1 of 2" in log
    assert any(line.startswith("fine-tuning: epoch") for line in log)
    names = ["macs-25pct", "macs-0.5"]
    assert data["networks"] == names
    assert {p.name for p in out.iterdir()} == {"frontier.html", "frontier.json", *names}
    page = (out / "frontier.html").read_text()
    for name, share in zip(names, (0.25, 0.5)):
        compact = keras.models.load_model(out / name / "compact.keras")
        report = json.loads((out / name / "report.json").read_text())
        found = tf_lossprune.cost(compact)["macs"]
        assert report["compact"]["macs"] == found <= share * report["dense"]["macs"]
        assert f'href="{name}/report.html"' in page
    assert "Accuracy against cost" in page and "Channels of each group" in page

    assert lossprune(*command, *flags) == 1
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "--overwrite" in message
    assert "one search" in message and "`lossprune report`" in message
    (out / "frontier.html").unlink()
    (out / "frontier.json").unlink()
    assert lossprune(*command, *flags) == 1  # of the folders inside it


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--budgets=macs=0.5"], "as two or more"),
        (["--budgets=macs=0.5,macs=0.5"], "different budgets on the same resources"),
        (["--budgets=macs=0.5,params=0.3,macs=0.2"], "on the same resources"),
        (["--budgets=macs"], "--budgets: Expected a budget such as"),
        (["--augment=mirror"], "some of flip,crop,rotate"),
        (["--augment=flip"], "a folder of images"),
    ],
)
def test_wrong_frontiers(capsys, hooks, tmp_path, flags, words):
    assert lossprune("frontier", hooks, f"--out={tmp_path / 'out'}", *flags) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_resource_that_is_named_again_begins_the_next_budget():
    assert parse_budgets("macs=0.5,size_bytes=300kB,macs=0.25,size_bytes=200kB") == [
        {"macs": 0.5, "size_bytes": "300kB"},
        {"macs": 0.25, "size_bytes": "200kB"},
    ]


def test_a_dry_run_writes_nothing_and_says_what_would_come(capsys, hooks, tmp_path):
    out = tmp_path / "new" / "out"
    flags = [f"--out={out}", "--epochs=30", "--nolitert", "--batch_size=16"]
    assert lossprune("prune", hooks, *flags, "--dry_run", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert not out.parent.exists()
    parts = {entry["part"]: entry for entry in data["parts"]}
    assert parts["search"]["count"] + parts["fine-tune"]["count"] == 30 * 4
    assert parts["validation"]["count"] == 30
    each = sum(p["count"] * p["seconds_each"] for p in data["parts"])
    assert data["seconds"] > each > 0
    assert data["compact"][0]["macs"] <= 0.5 * data["dense"]["macs"]
    assert data["files"] == ["compact.keras", "report.html", "report.json"]
    assert lossprune("prune", hooks, "--epochs=0", "--dry_run", *flags[::2]) == 0
    text = capsys.readouterr().out
    assert f"nothing is written to {out}" in text and "about" in text
