"""Finds the images of a folder, and tries every one of them."""

import collections
import concurrent.futures
import mimetypes
import os
import pathlib
import time

from tf_lossprune.cli.command import InputError

#: Files that are tried at a time; most of it is waiting for the disk.
THREADS = 8
#: How many bad files a message names.
NAMED = 5
#: Seconds between two lines of progress.
PROGRESS_SECONDS = 10.0


def find_images(folder, classes=None):
    """Lists the images of a folder with one folder of images for each class.

    Folders inside a class belong to it. Hidden files and folders, and files whose
    names say that they are no images, are left out; the latter are counted in a line.

    Args:
        folder: path.
        classes: list of names, or None: the folders that there are, in order.

    Returns:
        `(classes, files)`: a list of names and a list of `(path, index of class)`.

    Raises:
        InputError: for other folders than those of `classes`, and without any.
    """
    folder = pathlib.Path(folder)
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise InputError(
            "Expected a folder with one folder of images for each class. "
            f"Received: {str(folder)!r} without folders"
        )
    classes = names if classes is None else classes
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise InputError(
            f"Expected the classes of the training images, {classes}. "
            f"Received: {unknown} in {str(folder)!r}"
        )
    return classes, _images([folder / name for name in classes])


def find_unlabelled(folder):
    """Lists the images of a folder and of the folders inside it, as `find_images`.

    Args:
        folder: path.

    Returns:
        A list of `(path, 0)`.
    """
    return _images([pathlib.Path(folder)])


def _images(folders):
    """A list of `(path, index of folder)`."""
    files, others = [], collections.Counter()
    for index, folder in enumerate(folders):
        for path in _walk(folder):
            if _is_image(path.name):
                files.append((path, index))
            else:
                others[path.suffix.lower() or path.name] += 1
    if others:
        text = ", ".join(f"{n} {ending}" for ending, n in others.most_common(NAMED))
        print(f"Left out {sum(others.values())} files that are not images: {text}.")
    return files


def check_images(files, decode, skip):
    """Decodes every file once.

    Args:
        files: list of `(path, index of class)`.
        decode: function of a path that raises `ValueError` for a bad file.
        skip: bool, whether bad files are left out.

    Returns:
        Those of `files` that can be read, and what `decode` returned for each.

    Raises:
        InputError: for bad files, unless they are to be skipped.
    """

    def attempt(entry):
        try:
            return decode(entry[0])
        except ValueError as error:
            return error

    good, found, bad = [], [], []
    begun = told = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for entry, result in zip(files, pool.map(attempt, files)):
            if isinstance(result, ValueError):
                bad.append(f"{_shown(entry[0])} ({result})")
            else:
                good.append(entry)
                found.append(result)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                print(f"Checked {len(good) + len(bad)} of {len(files)} images.")
    if told > begun:
        print(f"Checked all {len(files)} images.")
    if bad:
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        text = f"{'; '.join(bad[:NAMED])}{more}"
        if not skip:
            raise InputError(
                "Expected images that can be read; --skip_bad_images leaves others "
                f"out. Received: {len(bad)} of {len(files)} that cannot: {text}"
            )
        print(f"Left out {len(bad)} of {len(files)} images that cannot be read: {text}")
    return good, found


def check_classes(folder, classes, files):
    """Raises `InputError` if a class has no images.

    Args:
        folder: path, for the message.
        classes: list of names.
        files: list of `(path, index of class)`.
    """
    seen = {index for _, index in files}
    empty = [name for index, name in enumerate(classes) if index not in seen]
    if empty:
        raise InputError(
            f"Expected images of every class in {str(folder)!r}. "
            f"Received: none of {', '.join(map(repr, empty))}"
        )


def _walk(folder):
    def fail(error):
        raise error

    if not folder.exists():  # a class without validation images
        return
    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            pathlib.Path(root, name)
            for name in sorted(names)
            if not name.startswith(".")
        )


def _is_image(name):
    """Whether a name is one of an image."""
    kind = mimetypes.guess_type(name.lower())[0] or ""
    return kind.startswith("image/")


def _shown(path):
    """A path as text that every terminal can print."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
