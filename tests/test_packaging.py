"""Tests of what is installed and of what importing it does."""

import ast
import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SKIPPED = {".git", ".venv", "out", "data", "build", "dist", "node_modules"}


def _python(code):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "TF_USE_LEGACY_KERAS"
    }
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def _files():
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(
            part.endswith(("_cache", ".egg-info", ".hypothesis")) for part in parts
        )
        if path.is_file() and not hidden and not _SKIPPED & set(parts):
            yield path


def test_import_leaves_keras_alone():
    done = _python(
        "import os, sys, tf_lossprune\n"
        "assert 'tensorflow_model_optimization' not in sys.modules\n"
        "assert 'tf_keras' not in sys.modules\n"
        "assert 'TF_USE_LEGACY_KERAS' not in os.environ\n"
        "import keras, tensorflow as tf\n"
        "assert tf.keras.__version__ == keras.__version__, tf.keras.__version__\n"
    )
    assert done.returncode == 0, done.stderr


def test_all_public_names_exist_and_are_documented():
    import tf_lossprune

    assert sorted(tf_lossprune.__all__) == list(tf_lossprune.__all__)
    assert dir(tf_lossprune) == tf_lossprune.__all__
    for name in tf_lossprune.__all__:
        member = getattr(tf_lossprune, name)
        assert name == "__version__" or member.__doc__, name
        for inner in getattr(member, "__all__", ()):
            assert hasattr(member, inner), f"{name}.{inner}"


def _project():
    """What pyproject.toml says, as a dict."""
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_metadata():
    """The version is written in one place, and read from there."""
    project = _project()
    assert project["project"]["name"] == "tf_lossprune"
    assert project["project"]["license"] == "Apache-2.0"
    assert project["project"]["dynamic"] == ["version"]
    source = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert source == "tf_lossprune.version.__version__"
    # setup.py is left for tools that ask for it, and says nothing of its own.
    assert "setuptools.setup()" in (ROOT / "setup.py").read_text()


def test_console_script():
    """The entry point exists, and is what `python -m tf_lossprune` runs."""
    place, _, name = _project()["project"]["scripts"]["lossprune"].partition(":")
    run = getattr(importlib.import_module(place), name)
    module = (ROOT / "tf_lossprune" / "__main__.py").read_text()
    assert f"from {run.__module__.rpartition('.')[0]} import {run.__name__}" in module
    done = subprocess.run(
        [sys.executable, "-m", "tf_lossprune", "inspect", "none.keras"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "existing model file. Received: 'none.keras'" in done.stderr
    assert not done.stdout


def test_version_is_the_same_everywhere():
    import tf_lossprune

    version = tf_lossprune.__version__
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f'version = "{version}"' in (ROOT / "MODULE.bazel").read_text()
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_package_has_an_init():
    """`find_packages` leaves folders without one out of the wheel."""
    folders = {path.parent for path in (ROOT / "tf_lossprune").rglob("*.py")}
    missing = [str(f) for f in folders if not (f / "__init__.py").exists()]
    assert not missing


def test_templates_are_installed():
    """What is no Python file needs to be named, for the wheel and for Bazel."""
    found = _project()["tool"]["setuptools"]["package-data"]
    named = {
        f"{package.replace('.', '/')}/{pattern}"
        for package, patterns in found.items()
        for pattern in patterns
    }
    build = (ROOT / "BUILD").read_text()
    assert all(f'"{pattern}"' in build for pattern in named)
    files = {path for pattern in named for path in ROOT.glob(pattern)}
    for path in (ROOT / "tf_lossprune").rglob("*.*"):
        if path.suffix not in (".py", ".pyc"):
            assert path in files, path


def test_what_is_imported_is_declared():
    """Every third-party module that the package imports is declared."""
    declared = {
        "absl": "absl-py",
        "ai_edge_litert": "ai-edge-litert",
        "jinja2": "jinja2",
        "keras": "keras",
        "numpy": "numpy",
        "tensorflow": "tensorflow",
        "tf_keras": "tf_keras",
        "tensorflow_model_optimization": "tensorflow-model-optimization",
        "matplotlib": "matplotlib",
        "jax": "jax",
        "flatbuffers": "flatbuffers",
        "tflite_micro": "tflite-micro",
        "ethosu": "ethos-u-vela",
        "onnxruntime": "onnxruntime",
        "openvino": "openvino",
        "ai_edge_quantizer": "ai-edge-quantizer",
    }
    project = _project()["project"]
    extras = project["optional-dependencies"].values()
    required = [*project["dependencies"], *(line for e in extras for line in e)]
    for path in (ROOT / "tf_lossprune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for module in {name.split(".")[0] for name in modules}:
                if module in sys.stdlib_module_names or module == "tf_lossprune":
                    continue
                assert module in declared, f"{path}: {module}"
                name = f"{declared[module]}>"
                assert any(line.startswith(name) for line in required), module


def test_nothing_points_outside_of_the_checkout():
    # Spelt in two parts, so that this file passes its own test.
    outside = ["../" + "shared", "/work" + "/", "/root" + "/", "/tmp" + "/"]
    for path in _files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for place in outside:
            assert place not in text, f"{path}: {place}"


def test_bazel_names_scripts_that_exist():
    text = (ROOT / "BUILD").read_text()
    for folder, name in (
        ("examples", "EXAMPLES"),
        ("benchmarks", "BENCHMARKS"),
        ("benchmarks/lab", "LAB"),
    ):
        listed = re.search(rf"^{name} = (\[.*?\])", text, re.M | re.S).group(1)
        scripts = {
            path.stem
            for path in (ROOT / folder).glob("*.py")
            if 'if __name__ == "__main__"' in path.read_text()
        }
        assert set(ast.literal_eval(listed)) == scripts
