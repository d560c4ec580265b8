"""Results are there as a whole or not at all, and no folders without any."""

import pytest

from tests.cli.networks import HOOKS, lossprune
from tf_lossprune.cli.outputs import made_folder, written


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), written(tmp_path / "a" / "b" / "c") as part:
        with open(part, "w") as file:
            file.write(f"{1 / 0}")
    assert not list(tmp_path.iterdir())
    with written(tmp_path / "a" / "b" / "c") as part, open(part, "w") as file:
        file.write("all")
    assert (tmp_path / "a" / "b" / "c").read_text() == "all"


def test_folders_that_were_there_or_are_in_use_stay(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(KeyboardInterrupt), made_folder(tmp_path / "there" / "new"):
        raise KeyboardInterrupt
    assert not list((tmp_path / "there").iterdir())
    with pytest.raises(ValueError), made_folder(tmp_path / "new" / "er") as folder:
        (tmp_path / "new" / "log").touch()
        raise ValueError
    assert not folder.exists() and (tmp_path / "new" / "log").exists()


def test_finished_results_are_kept(tmp_path, capsys):
    """Until told otherwise; what would be left of them goes then."""
    (tmp_path / "hooks.py").write_text(HOOKS)
    command = ["prune", tmp_path / "hooks.py", "--method=uniform", "--epochs=1"]
    command += ["--nolitert", "--verbose=0"]
    out = tmp_path / "new" / "out"
    assert lossprune(*command, f"--out={out}", "--budget=macs=0.001") == 2
    assert not out.parent.exists()
    assert str(tmp_path / "hooks.py") in capsys.readouterr().err
    out.mkdir(parents=True)
    for name in ("report.json", "compact.tflite", "notes.txt"):
        (out / name).write_text("mine")
    assert lossprune(*command, f"--out={out}") == 1
    error = capsys.readouterr().err
    assert "--overwrite" in error and "with compact.tflite, report.json" in error
    (out / "state" / "run").mkdir(parents=True)  # of a run that was stopped
    (out / "state" / "command.json").write_text("{}")
    assert lossprune(*command, f"--out={out}") == 1
    assert "--restart" in capsys.readouterr().err
    restart = [f"--out={out}", "--restart"]
    assert lossprune(*command, *restart) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert lossprune(*command, *restart, "--overwrite") == 0
    found = sorted(path.name for path in out.iterdir())
    assert found == ["compact.keras", "notes.txt", "report.html", "report.json"]
    assert (out / "report.json").read_text() != "mine"
