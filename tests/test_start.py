"""The command line answers before the long imports, and can be stopped in them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import tf_lossprune
from tests.cli.networks import HOOKS

ROOT = pathlib.Path(__file__).resolve().parents[1]
#: What the script `lossprune` does.
SCRIPT = (
    "import sys; sys.argv[0] = '/bin/lossprune'; sys.orig_argv = sys.argv; "
    "from tf_lossprune.cli import run; run()"
)


def environment(*folders):
    """Variables of a user's shell."""
    found = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return {**found, "PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))}


def start(*arguments, folder, before=(), code=SCRIPT):
    program = [sys.executable, "-c", code]
    if code is None:
        program = [sys.executable, "-m", "tf_lossprune"]
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        env=environment(*before),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(*arguments, **options):
    process = start(*arguments, **options)
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


@pytest.fixture
def no_keras(tmp_path):
    """A folder with a `keras` that says that it is imported, and takes its time."""
    folder = tmp_path / "first" / "keras"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "import pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'importing')!r}).touch()\n"
        "try:\n    time.sleep(60)\nexcept BaseException:\n    time.sleep(60)\n"
    )
    return folder.parent


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, "usage: lossprune COMMAND"),
        (["prune", "--help"], 0, "--budget"),
        (["--version"], 0, "tf_lossprune "),
        (["prun"], 1, "Did you mean 'prune'?"),
        (["prune", "there.py", "--epochz=3"], 1, "Did you mean '--epochs'?"),
        (["prune", "there.py", "--budget=macs"], 1, "Expected a budget such as"),
        (["inspect", "none.keras"], 1, "'none.keras'"),
        (["prune", "there.py", "--model=none.keras"], 1, "'none.keras'"),
        (["report", "none.json"], 1, "'none.json'"),
        (["inspect", "none.keras", "--import=gone.py"], 1, "'gone.py'"),
    ],
)
def test_help_and_mistakes_are_answered_without_keras(
    arguments, status, words, no_keras, tmp_path
):
    check_answer(arguments, status, words, SCRIPT, no_keras, tmp_path)


def test_as_a_module_it_answers_likewise(no_keras, tmp_path):
    arguments = ["prune", "there.py", "--epochz=3"]
    words = "Did you mean '--epochs'?"
    check_answer(arguments, 1, words, None, no_keras, tmp_path)


def check_answer(arguments, status, words, code, no_keras, tmp_path):
    (tmp_path / "there.py").touch()
    options = {"folder": tmp_path, "before": [no_keras], "code": code}
    found, stdout, stderr = finished(*arguments, **options)
    assert found == status, stderr
    assert words in (stderr if status else stdout)
    assert not (stdout if status else stderr)
    assert not (tmp_path / "importing").exists()


@pytest.mark.parametrize("code", [SCRIPT, None])
def test_ctrl_c_during_the_imports(code, no_keras, tmp_path):
    (tmp_path / "there.py").touch()
    process = start(
        "prune",
        "there.py",
        "--json",
        "--out=new/out",
        folder=tmp_path,
        before=[no_keras],
        code=code,
    )
    stdout, stderr = stopped_at(process, tmp_path / "importing")
    assert process.returncode == 130
    assert stderr == "lossprune: interrupted\n"
    assert json.loads(stdout)["error"]["status"] == 130
    assert not (tmp_path / "new").exists()


def test_ctrl_c_in_a_command_leaves_no_folders(tmp_path):
    """Also where what is running swallows the exception."""
    (tmp_path / "hooks.py").write_text(
        f"{HOOKS}\nimport pathlib, time\n"
        "class Slow:\n    def __del__(self):\n"
        "        pathlib.Path('running').touch()\n        time.sleep(60)\n"
        "def data():\n    Slow()\n"
        "    try:\n        time.sleep(60)\n"
        "    except BaseException:\n        raise ValueError('a step failed')\n"
    )
    process = start("prune", "hooks.py", "--out=new/out", folder=tmp_path)
    stdout, stderr = stopped_at(process, tmp_path / "running")
    assert process.returncode == 130
    assert stderr == "lossprune: interrupted\n" and not stdout
    assert not (tmp_path / "new").exists()


def stopped_at(process, path):
    """Sends Ctrl-C as soon as there is a file; returns what the process printed."""
    limit = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


def test_pruned_models_are_known_and_tensorflow_is_quiet(tmp_path):
    pytest.importorskip("ai_edge_litert")
    hooks = {}
    exec(HOOKS, hooks)
    pruned = tf_lossprune.prune_model(hooks["model"](), 0.5, method="uniform")
    pruned.save(tmp_path / "pruned.keras")
    command = ["strip", "pruned.keras", "--verbose_tf"]
    status, stdout, stderr = finished(*command, folder=tmp_path)
    assert status == 0 and "Written to" in stdout
    assert "InitializeLog" in stderr or "TensorFlow" in stderr
    status, stdout, stderr = finished(
        "convert", "pruned-compact.keras", folder=tmp_path
    )
    assert status == 0 and "Written to" in stdout
    assert not stderr


def test_a_program_of_the_same_name_gets_the_whole_package(tmp_path):
    code = (
        "import sys; sys.argv[0] = 'lossprune'\n"
        "import tf_lossprune\n"
        "assert 'keras' not in sys.modules\n"
        "assert tf_lossprune.prune_model and 'keras' in sys.modules\n"
        "assert not hasattr(tf_lossprune, 'prune_modell')\n"
    )
    status, _, stderr = finished(folder=tmp_path, code=code)
    assert status == 0, stderr
