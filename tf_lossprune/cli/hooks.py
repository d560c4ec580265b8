"""Python files and modules named on the command line."""

import importlib
import importlib.util
import pathlib
import sys

from tf_lossprune.cli.checks import check_module, look_in_this_folder
from tf_lossprune.cli.command import InputError

#: How many things `data` returns.
_PAIR = 2


def load(name):
    """Imports a Python file or a module.

    Args:
        name: path of a `.py` file, or the name of a module; modules are also found
            in the current folder.

    Returns:
        The module.

    Raises:
        InputError: if there is none, or if it fails.
    """
    path = pathlib.Path(name)
    try:
        if path.suffix != ".py":
            look_in_this_folder()
            return importlib.import_module(name)
        check_module(name)
        folder = str(path.resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        # A file called random.py must not stand in for the library's.
        key = path.stem if path.stem not in sys.modules else f"{path.stem}_hooks"
        spec = importlib.util.spec_from_file_location(key, path)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[key] = module
        spec.loader.exec_module(module)
        return module
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"Expected a Python file or module that can be imported ({_text(error)}; "
            f"--traceback shows more). Received: {name!r}"
        ) from error


def call(module, name, *arguments):
    """Calls a hook.

    Args:
        module: the module that holds it.
        name: string.
        *arguments: what it is called with.

    Raises:
        InputError: if there is no such function, or if it fails.
    """
    hook = getattr(module, name, None)
    if not callable(hook):
        raise InputError(
            f"Expected {_place(module)} to define a function `{name}`. "
            f"Received: {hook!r}"
        )
    try:
        return hook(*arguments)
    except Exception as error:
        raise InputError(
            f"Expected `{name}` in {_place(module)} to succeed (--traceback shows "
            f"more). Received: {_text(error)}"
        ) from error


def train_and_validation(module):
    """What the hook `data` returns.

    Args:
        module: the module that holds it.

    Returns:
        `(train, validation)`; validation may be None.

    Raises:
        InputError: if it returns something else.
    """
    found = call(module, "data")
    pair = isinstance(found, (tuple, list)) and len(found) == _PAIR
    if not pair or hasattr(found[0], "shape"):
        what = [type(entry).__name__ for entry in found] if pair else type(found)
        raise InputError(
            f"Expected `data` in {_place(module)} to return (train, validation), each "
            "a tf.data.Dataset, a keras.utils.PyDataset or a pair (x, y) of arrays, "
            f"validation or None. Received: {what}"
        )
    return tuple(found)


def _place(module):
    return repr(getattr(module, "__file__", None) or module.__name__)


def _text(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
