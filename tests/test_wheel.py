"""The wheel installs, and works, on the oldest and the newest supported packages.

The long tests install TensorFlow twice; they need a package index. The oldest packages
are those of `tests/oldest.txt`, on the oldest Python that is there.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
OLDEST = ROOT / "tests" / "oldest.txt"


def run(*command, **options):
    """Runs a command outside of the checkout; returns what it prints."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        [str(part) for part in command],
        env={**environment, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pins():
    """Dict, package -> the version that is tested as its oldest."""
    lines = OLDEST.read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_oldest_are_those_of_the_project():
    text = (ROOT / "pyproject.toml").read_text()
    required = re.search(r"^dependencies = \[(.*?)\]", text, re.M | re.S).group(1)
    least = dict(re.findall(r'"([\w-]+)>=([\d.]+)', required))
    assert least
    found = pins()
    assert set(found) == set(least)
    for name, version in least.items():
        assert found[name].startswith(f"{version}."), name


def test_the_readme_states_the_oldest():
    readme = (ROOT / "README.md").read_text()
    rows = {"Keras": "keras", "TensorFlow": "tensorflow", "LiteRT": "ai-edge-litert"}
    for title, name in rows.items():
        row = re.search(rf"^\| {title} \|(.*)\|$", readme, re.MULTILINE).group(1)
        assert re.search(r"\d+\.\d+", row).group() == pins()[name].rpartition(".")[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with a wheel and an sdist."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    # A copy, so that no build output is left in the checkout.
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "out", "data", "build", "dist", "*.egg-info", "*_cache"
    )
    shutil.copytree(ROOT, source, ignore=ignored)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", source)
    return folder / "dist"


@pytest.mark.long
def test_what_is_in_the_files(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tf_lossprune").rglob("*.py")
    }
    data = {"tf_lossprune/py.typed", "tf_lossprune/report/templates/style.css"}
    assert modules | data <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"tf_lossprune", wheel.name.rpartition("-py3")[0] + ".dist-info"}
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert modules | data | {"README.md", "LICENSE"} <= names


def oldest_python():
    """The oldest supported interpreter on this machine, for the oldest packages."""
    for name in ("python3.10", "python3.11", "python3.12"):
        path = shutil.which(name)
        if (
            path
            and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0
        ):
            return path
    pytest.skip("TensorFlow 2.18 needs Python 3.12 or older, and there is none")


@pytest.fixture
def environment(tmp_path):
    """Folder for a virtual environment; gigabytes, so it goes afterwards."""
    yield tmp_path / "venv"
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)  # none if it was skipped


@pytest.mark.long
@pytest.mark.parametrize("age", ["oldest", "newest"])
def test_smoke(built, environment, tmp_path, age):
    interpreter = oldest_python() if age == "oldest" else sys.executable
    run(interpreter, "-m", "venv", environment)
    python = environment / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    constraints = ["-c", OLDEST] if age == "oldest" else []
    run(python, "-m", "pip", "install", "--quiet", *constraints, wheel)
    run(python, "-m", "pip", "check")

    readme = shutil.copy(ROOT / "tests" / "wheel_readme.py", tmp_path)
    text = run(python, readme, ROOT / "README.md", cwd=tmp_path)
    assert str(environment) in text
    smoke = shutil.copy(ROOT / "tests" / "wheel_smoke.py", tmp_path)
    text = run(python, smoke, tmp_path, cwd=tmp_path)
    found = json.loads(text.splitlines()[-1])
    assert pathlib.Path(found["file"]).is_relative_to(environment)
    assert found["typed"]
    assert "<svg" in (tmp_path / "report.html").read_text()
    if age == "oldest":
        assert found["versions"]["keras"] == pins()["keras"]
        assert found["versions"]["tensorflow"] == pins()["tensorflow"]
    assert found["tf.keras"] == found["versions"]["keras"]
    assert 0 < found["compact"]["macs"] <= 0.5 * found["dense"]["macs"]
    assert all(kept > 0 for kept in found["kept"].values())
    assert found["tf_keras"] == "tf_keras"
    lossprune = environment / "bin" / "lossprune"
    assert (
        run(lossprune, "--version")
        == f"tf_lossprune {found['versions']['tf_lossprune']}\n"
    )
    models = tmp_path / "dense.keras", tmp_path / "compact.keras"
    assert "MACs" in run(lossprune, "compare", *models, cwd=tmp_path)
