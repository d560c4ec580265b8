"""What can be checked of arguments before Keras is imported."""

import importlib.util
import json
import os
import pathlib
import sys

from tf_lossprune.budget_text import parse_budget, parse_budgets
from tf_lossprune.cli.command import InputError

MODEL_SUFFIXES = (".keras", ".h5")
LITERT_SUFFIX = ".tflite"
#: What `prune` writes to its folder: the state of an unfinished run, and results.
STATE = "state"
RESULTS = ("compact.keras", "compact.tflite", "report.html", "report.json")
#: What `frontier` writes there, beside one folder for each budget.
FRONTIER_RESULTS = ("frontier.html", "frontier.json")


def check_model_path(path):
    """Raises `InputError` unless this is the path of a model file.

    Args:
        path: string.
    """
    if not path.endswith(MODEL_SUFFIXES):
        raise InputError(f"Expected a model as a .keras file. Received: {path!r}")
    if not pathlib.Path(path).is_file():
        raise InputError(f"Expected an existing model file. Received: {path!r}")


def check_model_source(source):
    """Raises `InputError` unless this is the path of a model file or a Python file.

    Args:
        source: string.
    """
    if source.endswith(MODEL_SUFFIXES):
        check_model_path(source)
    else:
        check_module(source)


def beside(out, source, ending):
    """The file to write: `out`, or one in the source's folder, with another ending.

    Args:
        out: string or None.
        source: string, path of what the command reads.
        ending: string, what follows the source's name.
    """
    source = pathlib.Path(source)
    return out or str(source.with_name(f"{source.stem}{ending}"))


def check_file(path, what):
    """Raises `InputError` unless there is this file.

    Args:
        path: string.
        what: string, what kind of file it is to be.
    """
    if not pathlib.Path(path).is_file():
        raise InputError(f"Expected {what}, an existing file. Received: {path!r}")


def check_module(name):
    """Raises `InputError` unless there is this Python file or module.

    Args:
        name: string, the path of a `.py` file or the name of a module.
    """
    if name.endswith(".py"):
        if not pathlib.Path(name).is_file():
            raise InputError(f"Expected an existing Python file. Received: {name!r}")
        return
    look_in_this_folder()
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise InputError(
            "Expected a model file, a folder, a Python file or the name of a module "
            f"that can be imported. Received: {name!r}"
        )


def look_in_this_folder():
    """Lets Python find modules in the current folder, as a script's would be."""
    if "" not in sys.path and str(pathlib.Path.cwd()) not in sys.path:
        sys.path.insert(0, str(pathlib.Path.cwd()))


def check_source(source, model):
    """Raises `InputError` unless there are data of this name.

    Args:
        source: string, a folder of images, a Python file or a module.
        model: string, the model file for a folder, or None.
    """
    if model:
        check_model_path(model)
    if not pathlib.Path(source).is_dir():
        check_module(source)
    elif not model:
        raise InputError(
            "Expected --model=MODEL.keras beside a folder of images. "
            f"Received: {source!r}"
        )


def check_budget(text):
    """Raises `InputError` unless this looks like a budget.

    Args:
        text: string, `--budget`.
    """
    try:
        parse_budget(text)
    except ValueError as error:
        raise InputError(f"--budget: {error}") from None


def check_budgets(text):
    """Raises `InputError` unless these look like several budgets.

    Args:
        text: string, `--budgets`.
    """
    try:
        found = parse_budgets(text)
    except ValueError as error:
        raise InputError(f"--budgets: {error}") from None
    if len(found) < 2:
        raise InputError(
            "Expected --budgets as two or more, such as macs=0.5,macs=0.25; "
            f"`lossprune prune` is for one. Received: {text!r}"
        )


def read_widths(path):
    """The widths in a file, dict, name of a group -> channels.

    Args:
        path: string, a JSON file of them, or a report.json, whose network they are.

    Raises:
        InputError: if there is no such file, or it holds neither.
    """
    check_file(path, "--widths as a JSON file")
    try:
        found = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        if isinstance(found["groups"] if "groups" in found else None, list):
            found = {group["name"]: group["kept"] for group in found["groups"]}
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, dict) or not all(type(n) is int for n in found.values()):
        raise InputError(
            "Expected --widths as a JSON file of an object such as "
            '{"conv1": 12, "conv2": 24}, or a report.json. '
            f"Received: {path!r}"
        )
    return found


def check_out(out, source, suffix, overwrite):
    """Raises `InputError` unless a result may be written to this file.

    Args:
        out: string.
        source: string, the file it is made from.
        suffix: string, the ending it must have.
        overwrite: bool, whether it may replace another file.
    """
    if not out.endswith(suffix):
        raise InputError(f"Expected --out ending in {suffix}. Received: {out!r}")
    if pathlib.Path(out).resolve() == pathlib.Path(source).resolve():
        raise InputError(f"Expected --out other than the input. Received: {out!r}")
    if os.path.isdir(out):
        raise InputError(f"Expected --out as a file. Received: the folder {out!r}")
    if os.path.exists(out) and not overwrite:
        raise InputError(
            "Expected --out as a new file, or --overwrite. Received: "
            f"{out!r}, which exists"
        )


def check_out_folder(out, overwrite, restart, why=""):
    """Raises `InputError` unless results may be written to this folder.

    Args:
        out: string.
        overwrite: bool, whether they may replace others; what a run that was stopped
            has written is replaced by the run that goes on.
        restart: bool, whether none goes on.
        why: string, a sentence that the message adds.
    """
    folder = pathlib.Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"Expected --out as a folder. Received: the file {out!r}")
    names = (*RESULTS, *FRONTIER_RESULTS)
    found = [name for name in names if (folder / name).exists()]
    goes_on = (folder / STATE / "run").exists() and not restart
    if found and not overwrite and not goes_on:
        raise InputError(
            f"Expected --out without the results of another run, or --overwrite. {why}"
            f"Received: {out!r} with {', '.join(found)}"
        )
