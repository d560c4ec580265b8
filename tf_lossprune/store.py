"""The state of a training on disk, from which it can go on after a kill."""

import json
import os
import pathlib
from typing import Any

import keras
import numpy as np

from tf_lossprune.files import PART, replaced
from tf_lossprune.training.finite import broken_weight
from tf_lossprune.types import Path

_RECORD = "state.json"
_WEIGHTS = ".weights.h5"


class Store:
    """A folder with the state of one training, whole at any moment.

    First a file of weights is written, then the record that names it; each takes its
    name only when all of it is on the disk. What is killed leaves an older state, not
    a torn one. Weights with NaN or Inf never take the place of good ones.

    Args:
        folder: path; made when something is saved.
        expected: string, what the error says was expected.

    Raises:
        TypeError: if `folder` is no path.
        ValueError: if it is empty.
    """

    def __init__(self, folder: Path, expected: str = "the path of a folder") -> None:
        received = f"Received: {folder!r} (of type {type(folder).__name__})"
        try:
            if not os.fspath(folder):
                raise ValueError(f"Expected {expected}. {received}")
        except TypeError:
            raise TypeError(f"Expected {expected}. {received}") from None
        self.folder = pathlib.Path(folder)
        self._current: str | None = None

    def read(self, *keys: str) -> dict[str, Any] | None:
        """The record of the state; None: there is no state.

        Args:
            *keys: what has to be in the record.

        Raises:
            ValueError: for a record that is damaged, or not of such a state.
        """
        path = self.folder / _RECORD
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            whole = all(key in record for key in (*keys, "seeds"))
            whole = whole and (self.folder / record["weights"]).is_file()
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise ValueError(
                "Expected the state of an interrupted run; use another folder, or "
                f"delete this one to start over. Received: {str(self.folder)!r} with a "
                f"foreign or damaged {_RECORD}"
            )
        self._current = record["weights"]
        return record

    def others(self) -> list[str]:
        """Names of files that no store has written."""
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        return [p.name for p in files if p.name != _RECORD and not _ours(p.name)]

    def save(self, model: keras.Model, name: str, record: dict[str, Any]) -> bool:
        """Puts a new state in the former one's place, unless its weights are ruined.

        Args:
            model: compiled `keras.Model`, whose optimizer is saved too.
            name: string, of the file of weights; another one for every state.
            record: JSON dict, what else is to be known of the state.

        Returns:
            Whether it was saved.
        """
        if hasattr(model, "jax_state_sync"):
            model.jax_state_sync()
        if broken_weight(model):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        file = name + _WEIGHTS
        if file == self._current:  # as where an epoch's last step was saved before
            file = f"{name}-again{_WEIGHTS}"
        with replaced(self.folder / file) as part:
            model.save_weights(part, overwrite=True)
        # Keras leaves the random state of dropout out of a file of weights.
        seeds = [np.asarray(state).tolist() for state in _random_states(model)]
        text = json.dumps({**record, "weights": file, "seeds": seeds})
        with replaced(self.folder / _RECORD) as part:  # from then on, this state counts
            part.write_text(text, encoding="utf-8")
        self._current = file
        self._sweep()
        return True

    def load(self, model: keras.Model, record: dict[str, Any]) -> None:
        """Restores weights, optimizer and random state.

        Args:
            model: as in `save`.
            record: what `read` returned.
        """
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(model.trainable_variables)
        model.load_weights(self.folder / record["weights"])
        for state, value in zip(_random_states(model), record["seeds"]):
            state.assign(np.array(value, "uint32"))

    def remove(self) -> None:
        """Removes the state, and the folder where nothing else is in it."""
        if not (self.folder / _RECORD).exists():
            return
        os.remove(self.folder / _RECORD)  # first: without it, the rest is nothing
        self._current = None
        self._sweep()
        if not os.listdir(self.folder):
            os.rmdir(self.folder)

    def _sweep(self) -> None:
        for name in os.listdir(self.folder):
            if _ours(name) and name != self._current:
                os.remove(self.folder / name)


def _ours(name: str) -> bool:
    return name.endswith(_WEIGHTS) or name.startswith(PART)


def _random_states(model: keras.Model) -> list[keras.Variable]:
    known = {id(weight) for weight in model.weights}
    return [
        v for v in model.variables if id(v) not in known and "seed_generator" in v.path
    ]
