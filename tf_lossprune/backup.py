"""Keeps the state of a run in a folder, so that the same call can go on."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import textwrap
import threading
import time

import numpy as np

from tf_lossprune import start
from tf_lossprune.files import PART, replaced
from tf_lossprune.training.phases import StepCallback

#: Seconds between two saves, and how many times what a save takes they are at least.
INTERVAL = 60.0
PATIENCE = 20.0
_RECORD = "state.json"
_EMPTY: dict = {
    "done": 0,
    "seconds": 0.0,
    "searched": 0.0,
    "epochs": [],
    "file": None,
}


class Backup:
    """The state of one run of `compress`: weights, optimizers, ratios, counters.

    It is saved once a minute, when a part (search or fine-tuning) is over, and on
    Ctrl-C, which is held back until the step that is running has ended; a second
    Ctrl-C stops at once. Files are replaced as a whole, so that a run that is
    killed leaves an older state, not a torn one. A run that goes on starts a new
    pass over the training data.

    Args:
        folder: path of a folder of its own; made where it is missing.
        keep: bool, whether the state stays when the run is over, which makes a
            repeated call return at once.
        interval: float, seconds between two saves, more where a save takes long; 0:
            every step is saved.

    Raises:
        TypeError: if `folder` is not a path.

    Example:

    ```python
    backup = tf_lossprune.backup.Backup("out/state", interval=10.0)
    compact, result = tf_lossprune.compress(model, budget, train, backup=backup)
    ```
    """

    def __init__(self, folder, keep=False, interval=INTERVAL):
        try:
            self.folder = pathlib.Path(folder)
        except TypeError:
            raise TypeError(
                "Expected a backup as a path or a Backup. "
                f"Received: {folder!r} (of type {type(folder).__name__})"
            ) from None
        self.interval = interval
        self._keep = keep
        self._record: dict = {"identity": None, "parts": {}}

    @classmethod
    def of(cls, backup):
        """A `Backup` from one, a path, or None (which keeps nothing)."""
        if backup is None:
            return _NoBackup()
        return backup if isinstance(backup, cls) else cls(backup)

    def open(self, identity):
        """Reads what an earlier run has left.

        Args:
            identity: JSON dict, the settings that must agree.

        Raises:
            ValueError: if the folder holds something else.
        """
        identity = json.loads(json.dumps(identity, default=str))
        record = self._read()
        if record is not None:
            theirs = record["identity"]
            for key, mine in identity.items():
                if theirs.get(key) != mine:
                    raise ValueError(
                        f"Expected the state of a run with the same settings in "
                        f"{str(self.folder)!r}, but its {key!r} differs; delete the "
                        f"folder to start anew. Received: {_text(mine)}, there: "
                        f"{_text(theirs.get(key))}"
                    )
            self._record = record
        self._record["identity"] = identity

    def _read(self):
        path = self.folder / _RECORD
        if not path.exists():
            if self.folder.is_dir() and any(map(_foreign, self.folder.iterdir())):
                raise ValueError(
                    "Expected a folder for the state of one run, empty or written by "
                    f"tf_lossprune. Received: {str(self.folder)!r}"
                )
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            files = [part["file"] for part in record["parts"].values()]
            record["identity"].items()
        except (ValueError, KeyError, TypeError, AttributeError):
            files = [""]
        if not all(file and (self.folder / file).is_file() for file in files):
            raise ValueError(
                "Expected the state of an interrupted run; delete the folder to start "
                f"anew. Received: {str(self.folder)!r} with a damaged {_RECORD}"
            )
        return record

    @contextlib.contextmanager
    def part(self, name, model):
        """One `fit` of a compiled model; yields a `Part` with restored state."""
        part = Part(self, name, model, self._record["parts"].get(name, _EMPTY))
        with _held_interrupts() as interrupt:
            part.interrupt = interrupt
            yield part

    def save(self, name, model, entry):
        """Saves a part: first the weights, then the record that names their file.

        Args:
            name: string, the part.
            model: `keras.Model`.
            entry: dict, what the record says of the part.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if hasattr(model, "jax_state_sync"):
            model.jax_state_sync()
        old = self._record["parts"].get(name, _EMPTY)["file"]
        file = f"{name}-{entry['done']}.weights.h5"
        if file == old:  # the same step, saved again
            file = f"{name}-{entry['done']}-again.weights.h5"
        with replaced(self.folder / file) as part:
            model.save_weights(part, overwrite=True)
        # Keras leaves the random state of dropout out of a file of weights.
        seeds = [np.asarray(state).tolist() for state in _random_states(model)]
        self._record["parts"][name] = {**entry, "file": file, "seeds": seeds}
        with replaced(self.folder / _RECORD) as part:
            part.write_text(json.dumps(self._record), encoding="utf-8")
        if old:
            (self.folder / old).unlink(missing_ok=True)

    def load(self, model, entry):
        """Restores weights, optimizer and random state from a part's record."""
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model.load_weights(self.folder / entry["file"])
        for state, value in zip(_random_states(model), entry["seeds"]):
            state.assign(np.array(value, "uint32"))

    def close(self):
        """Ends the run: the state goes away, unless it is to be kept."""
        if not self._keep:
            self.remove()

    def remove(self):
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _foreign(path):
    """Whether a file is none that a run, killed in its first save, leaves behind."""
    return not path.name.endswith(".weights.h5") and not path.name.startswith(PART)


def _text(value):
    return textwrap.shorten(json.dumps(value), 80)


def _random_states(model):
    known = {id(weight) for weight in model.weights}
    return [
        v for v in model.variables if id(v) not in known and "seed_generator" in v.path
    ]


class Part(StepCallback):
    """One `fit` of a run, as a callback that saves it.

    Args:
        backup: `Backup`.
        name: string.
        model: compiled `keras.Model`; gets the state that was saved.
        entry: dict, what the record says of the part.

    Attributes:
        done: int, steps that are done, those of earlier runs included.
        epochs: list of dicts, what each epoch logged.
        searched: float, seconds until the widths were fixed; 0 before.
    """

    def __init__(self, backup, name, model, entry):
        super().__init__()
        self.interrupt = threading.Event()
        self._backup, self._name, self._learner = backup, name, model
        self.done, self.searched = entry["done"], entry["searched"]
        self.epochs = [dict(logs) for logs in entry["epochs"]]
        self._seconds, self._began = entry["seconds"], time.perf_counter()
        if entry["file"]:
            backup.load(model, entry)
        self._next = time.perf_counter() + backup.interval

    @property
    def seconds(self):
        """Float, seconds that the part has taken, those of earlier runs included."""
        return self._seconds + time.perf_counter() - self._began

    def on_steps(self, done):
        self.done += done
        if getattr(self.model, "is_compact", False) and not self.searched:
            self.searched = self.seconds
        if not self.model.stop_training:  # else `finish` comes at once
            self._save_if_due()

    def on_test_batch_end(self, batch, logs=None):
        if not self.model.stop_training:
            self._save_if_due(only_interrupts=True)

    def on_epoch_end(self, epoch, logs=None):
        logs = {k: np.asarray(v).tolist() for k, v in (logs or {}).items()}
        self.epochs.append(logs)

    def finish(self, steps):
        """Saves the end of the part; an interrupt that came last is raised here.

        Args:
            steps: int, those of the part; a callback may have stopped it before.
        """
        self.done = steps
        self._save_if_due(force=True)

    def _save_if_due(self, only_interrupts=False, force=False):
        start = time.perf_counter()
        stop = self.interrupt.is_set()
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

    def __init__(self):
        super().__init__(os.devnull)

    def open(self, identity):
        pass

    @contextlib.contextmanager
    def part(self, name, model):
        yield Part(self, name, model, _EMPTY)

    def save(self, name, model, entry):
        pass

    def remove(self):
        pass


@contextlib.contextmanager
def _held_interrupts():
    """Turns the first Ctrl-C into an event; in other threads, nothing changes.

    Yields:
        A `threading.Event`, set by the first SIGINT.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def hold(number, frame):
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
