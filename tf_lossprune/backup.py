"""Keeps the state of a run in a folder, so that the same call can go on."""

import contextlib
import json
import os
import signal
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_lossprune import start
from tf_lossprune.store import Store
from tf_lossprune.training.phases import StepCallback
from tf_lossprune.types import Path

#: Seconds between two saves, and how many times what a save takes they are at least.
INTERVAL = 60.0
PATIENCE = 20.0
#: What is known of a run that has not begun.
_EMPTY: dict[str, Any] = {"done": 0, "seconds": 0.0, "searched": 0.0, "epochs": []}


class Backup:
    """The state of one run of `compress`: weights, optimizers, ratios, counters.

    It is saved once a minute, when the run is over, and on Ctrl-C, which is held back
    until the step that is running has ended; a second Ctrl-C stops at once. Files are
    replaced as a whole, so that a run that is killed leaves an older state, not a torn
    one. A run that goes on starts a new pass over the training data.

    Args:
        folder: path of a folder of its own; made where it is missing.
        keep: bool, whether the state stays when the run is over, which makes a
            repeated call return at once.
        interval: float, seconds between two saves, more where a save takes long; 0:
            every step is saved.

    Raises:
        TypeError: if `folder` is not a path.
        ValueError: if it is empty.

    Example:

    ```python
    backup = tf_lossprune.backup.Backup("out/state", interval=10.0)
    compact, result = tf_lossprune.compress(model, budget, train, backup=backup)
    ```
    """

    def __init__(
        self, folder: Path, keep: bool = False, interval: float = INTERVAL
    ) -> None:
        self._store = Store(folder, "a backup as a path or a Backup")
        self.folder = self._store.folder
        self.interval = interval
        self._keep = keep
        self._identity: dict[str, Any] = {}
        self._record: dict[str, Any] | None = None

    @classmethod
    def of(cls, backup: "Path | Backup | None") -> "Backup":
        """A `Backup` from one, a path, or None (which keeps nothing)."""
        if backup is None:
            return _NoBackup()
        return backup if isinstance(backup, Backup) else cls(backup)

    def open(self, identity: dict[str, Any]) -> None:
        """Reads what an earlier run has left.

        Args:
            identity: JSON dict, the settings that must agree.

        Raises:
            ValueError: if the folder holds something else.
        """
        self._identity = json.loads(json.dumps(identity, default=str))
        self._record = self._store.read("identity", *_EMPTY)
        if self._record is None:
            if self._store.others():
                raise ValueError(
                    "Expected a folder for the state of one run, empty or written by "
                    f"tf_lossprune. Received: {str(self.folder)!r}"
                )
            return
        theirs = self._record["identity"]
        for key, mine in self._identity.items():
            if theirs.get(key) != mine:
                raise ValueError(
                    f"Expected the state of a run with the same settings in "
                    f"{str(self.folder)!r}, but its {key!r} differs; delete the "
                    f"folder to start over. Received: {_text(mine)}, there: "
                    f"{_text(theirs.get(key))}"
                )

    @contextlib.contextmanager
    def part(self, name: str, model: keras.Model) -> Iterator["Part"]:
        """The `fit` of a compiled model; yields a `Part` with restored state."""
        if self._record is not None:
            self._store.load(model, self._record)
        with _held_interrupts() as interrupt:
            yield Part(self, name, model, self._record or _EMPTY, interrupt)

    def save(self, name: str, model: keras.Model, entry: dict[str, Any]) -> None:
        """Saves what a part has reached; see `Store.save`."""
        record = {**entry, "identity": self._identity}
        self._store.save(model, f"{name}-{entry['done']}", record)

    def close(self) -> None:
        """Ends the run: the state goes away, unless it is to be kept."""
        if not self._keep:
            self._store.remove()


def _text(value: Any) -> str:
    return textwrap.shorten(json.dumps(value), 80)


class Part(StepCallback):
    """One `fit` of a run, as a callback that saves it.

    Args:
        backup: `Backup`.
        name: string.
        model: compiled `keras.Model`.
        entry: dict, what is known of earlier runs.
        interrupt: `threading.Event`, set by a Ctrl-C that waits for a step's end.

    Attributes:
        done: int, steps that are done, those of earlier runs included.
        epochs: list of dicts, what each epoch logged.
        searched: float, seconds until the widths were fixed; 0 before.
    """

    def __init__(
        self,
        backup: Backup,
        name: str,
        model: keras.Model,
        entry: dict[str, Any],
        interrupt: threading.Event,
    ) -> None:
        super().__init__()
        self._interrupt = interrupt
        self._backup, self._name, self._learner = backup, name, model
        self.done, self.searched = entry["done"], entry["searched"]
        self.epochs = [dict(logs) for logs in entry["epochs"]]
        self._seconds, self._began = entry["seconds"], time.perf_counter()
        self._next = time.perf_counter() + backup.interval

    @property
    def seconds(self) -> float:
        """Float, seconds that the part has taken, those of earlier runs included."""
        return self._seconds + time.perf_counter() - self._began

    def on_steps(self, done: int) -> None:
        self.done += done
        if getattr(self.model, "is_compact", False) and not self.searched:
            self.searched = self.seconds
        if not self.model.stop_training:  # else `finish` comes at once
            self._save_if_due()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self.model.stop_training:
            self._save_if_due(only_interrupts=True)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {k: np.asarray(v).tolist() for k, v in (logs or {}).items()}
        self.epochs.append(logs)

    def finish(self, steps: int) -> None:
        """Saves the end of the part; an interrupt that came last is raised here.

        Args:
            steps: int, those of the part; a callback may have stopped it before.
        """
        self.done = steps
        self._save_if_due(force=True)

    def _save_if_due(self, only_interrupts: bool = False, force: bool = False) -> None:
        start = time.perf_counter()
        stop = self._interrupt.is_set()
        if not (force or stop or (not only_interrupts and start >= self._next)):
            return
        entry = {
            "done": self.done,
            "seconds": self.seconds,
            "searched": self.searched,
            "epochs": self.epochs,
        }
        self._backup.save(self._name, self._learner, entry)
        now = time.perf_counter()
        if self._backup.interval:
            self._next = now + max(self._backup.interval, PATIENCE * (now - start))
        if stop:
            raise KeyboardInterrupt


class _NoBackup(Backup):
    """Keeps nothing and leaves signals alone."""

    def __init__(self) -> None:
        super().__init__(os.devnull)

    def open(self, identity: dict[str, Any]) -> None:
        pass

    @contextlib.contextmanager
    def part(self, name: str, model: keras.Model) -> Iterator["Part"]:
        yield Part(self, name, model, _EMPTY, threading.Event())

    def save(self, name: str, model: keras.Model, entry: dict[str, Any]) -> None:
        pass


@contextlib.contextmanager
def _held_interrupts() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C into an event; in other threads, nothing changes.

    Yields:
        A `threading.Event`, set by the first SIGINT.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def hold(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        # Not through sys.stderr, which may be in the middle of a write.
        text = b"\nStopping after this step; Ctrl-C again stops at once.\n"
        os.write(start.STATE.stderr, text)

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
