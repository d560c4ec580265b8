"""Writes results, whole or not at all, and leaves no empty folders behind."""

import contextlib
import pathlib

from tf_lossprune.files import PART, replaced


@contextlib.contextmanager
def made_folder(path):
    """Makes a folder; if the block fails, it goes away again, as long as it is empty.

    Args:
        path: path of the folder.

    Yields:
        The path, as a `pathlib.Path`.
    """
    path = pathlib.Path(path)
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    except BaseException:
        with contextlib.suppress(OSError):  # not empty, or gone
            for folder in missing:
                folder.rmdir()
        raise


@contextlib.contextmanager
def written(path):
    """Writes a file, in a folder that is made where it is missing.

    Args:
        path: path of the file.

    Yields:
        The path to write to, a string with the same ending.
    """
    path = pathlib.Path(path)
    with made_folder(path.parent):
        try:
            with replaced(path) as part:
                yield str(part)
        except BaseException:
            path.with_name(PART + path.name).unlink(missing_ok=True)
            raise
