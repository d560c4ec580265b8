"""How commands are found, and what goes to which stream with which exit code."""

import json
import pathlib
import re

import pytest

import tf_lossprune
from tests.cli.networks import lossprune
from tf_lossprune.cli.main import BAD_INPUT, COMMANDS, INFEASIBLE, INTERNAL, OK


def test_overview(capsys):
    assert lossprune("--help") == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
    assert lossprune() == 1
    assert lossprune("--version") == 0
    assert tf_lossprune.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name, capsys):
    assert lossprune(name, "--help") == 0
    text = capsys.readouterr().out
    assert COMMANDS[name].summary in text
    assert "--json" in text


def test_the_documentation_names_commands_and_flags_that_exist():
    text = (pathlib.Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert set(re.findall(r"lossprune ([a-z-]+) ", text)) == set(COMMANDS)
    known = {name for command in COMMANDS.values() for name in command.flags()}
    named = set(re.findall(r"--([a-z_]+)", text)) - {
        "help",
        "nolitert",
        "flag",
        "flagfile",
    }
    assert named <= known, named - known
    codes = re.findall(r"^\| (\d+) \|", text, re.M)
    assert [int(code) for code in codes] == [OK, BAD_INPUT, INFEASIBLE, INTERNAL, 130]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prun"], "Did you mean 'prune'"),
        (["xyz"], "Expected a command among inspect, "),
        (["inspect"], "Expected 'lossprune inspect"),
        (["inspect", "a.keras", "b.keras"], "Received: a.keras b.keras"),
        (["inspect", "a.keras", "--colour=red"], "Received: '--colour=red'"),
        (["inspect", "a.keras", "--channel_multipel=4"], "mean '--channel_multiple'"),
        (["inspect", "a.keras"], "existing model file. Received: 'a.keras'"),
        (["inspect", "hooks.py"], "existing Python file. Received: 'hooks.py'"),
        (["inspect", "no_such_module"], "Received: 'no_such_module'"),
        (["inspect", "--import=none.py", "a.keras"], "Received: 'none.py'"),
        (["prune", "hooks.py", "--epochs=-1"], "--epochs=-1"),
        (["prune", "hooks.py", "--epochs=many"], "--epochs=many"),
        (["prune", "there.py", "--budget=half"], "Expected a budget such as"),
        (["prune", "there.py", "--budget=watts=0.5"], "Expected a resource among"),
        (["prune", "there.py", "--latency_table=a.json"], "Received: 'a.json'"),
        (["prune", "there.py", "--channel_multiple=x"], "a whole number or 'auto'"),
        (["prune", "there.py", "--input_shape=a,b"], "--input_shape as whole numbers"),
        (["prune", "there.py", "--out=there.py"], "--out as a folder"),
        (["convert", "a.tflite"], "a model as a .keras file"),
        (["convert", "a.keras", "--out=a.bin"], "ending in .tflite"),
        (["convert", "a.keras", "--precision=int8"], "--data="),
        (["benchmark", "a.tflite"], "existing file. Received: 'a.tflite'"),
        (["compare", "a.keras"], "DENSE.keras COMPACT.keras"),
        (["report", "none.json"], "Expected a report.json"),
        (["calibrate", "a.keras"], "existing model file. Received: 'a.keras'"),
        (["calibrate", "there.py", "--device=phone"], "a folder of `export-probes`"),
        (["calibrate", "."], "a folder that `export-probes` has written"),
        (["calibrate", "there.py", "--out=a.csv"], "--out ending in .json"),
        (["export-probes", "there.py", "--out=there.py"], "--out as a folder"),
    ],
)
def test_wrong_use(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("there.py").touch()
    assert lossprune(*arguments) == 1
    streams = capsys.readouterr()
    assert words in streams.err
    assert streams.err.startswith("lossprune: ") and streams.err.count("\n") == 1
    assert not streams.out
    assert [path.name for path in tmp_path.iterdir()] == ["there.py"]


def test_errors_as_json(capsys):
    assert lossprune("inspect", "none.keras", "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["status"] == 1 and error["kind"] == "InputError"


def test_infeasible_budgets(capsys, folder):
    command = ["inspect", folder / "dense.keras", "--budget=macs=0.0001", "--json"]
    assert lossprune(*command) == 2
    streams = capsys.readouterr()
    error = json.loads(streams.out)["error"]
    assert error["kind"] == "InfeasibleBudgetError"
    assert 0 < error["smallest"]["macs"] < 1
    assert "Traceback" not in streams.err


def test_a_hook_that_fails(capsys, tmp_path):
    path = tmp_path / "failing_hooks.py"
    path.write_text("def model():\n    raise RuntimeError('no disk')\n")
    assert lossprune("inspect", path) == 1
    assert "Received: RuntimeError: no disk" in capsys.readouterr().err
    assert lossprune("inspect", path, "--traceback") == 1
    assert "in model\n" in capsys.readouterr().err


def test_errors_of_the_program_are_told_apart(capsys, monkeypatch, folder):
    def broken(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr("tf_lossprune.cli.inspect.inspect_model", broken)
    assert lossprune("inspect", folder / "dense.keras") == 3
    assert "Traceback" in capsys.readouterr().err

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tf_lossprune.cli.inspect.inspect_model", interrupted)
    assert lossprune("inspect", folder / "dense.keras") == 130
    assert capsys.readouterr().err == "lossprune: interrupted\n"
