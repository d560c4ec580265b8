"""Files that are there as a whole or not at all, also after a power cut."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

#: What the name of a file begins with that is not complete.
PART = "part."


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Writes a file that takes a name only when all of it is on the disk.

    Args:
        path: path of the file in a folder that exists.

    Yields:
        The path to write to, with the same ending.
    """
    path = pathlib.Path(path)
    part = path.with_name(PART + path.name)
    yield part
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    _sync_folder(path.parent)


def _sync_folder(folder: pathlib.Path) -> None:
    """Puts the names in a folder on the disk, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
