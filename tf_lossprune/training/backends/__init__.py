"""What each Keras backend does in its own way, one file for each of them."""

import importlib
import importlib.util

import keras

from tf_lossprune.training.backends.base import Backend


def current_backend() -> type[Backend]:
    """The `Backend` of the Keras backend in use.

    It is the class of that name in the file that is called as Keras calls the backend;
    where there is no such file, one that trains nothing.
    """
    name = f"{__name__}.{keras.backend.backend()}"
    if importlib.util.find_spec(name) is None:
        name = f"{__name__}.unsupported"
    return importlib.import_module(name).Step


__all__ = ["Backend", "current_backend"]
