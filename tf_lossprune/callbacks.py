"""Keras' callbacks for models whose widths change while they train."""

import os
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lossprune import keras_internals as internals
from tf_lossprune.store import Store
from tf_lossprune.training.finite import broken_weight
from tf_lossprune.training.model import PHASES, PrunedModel
from tf_lossprune.types import Path
from tf_lossprune.values import numpy_of


class _OnceFixed:
    """Lets a callback see only epochs in which the widths are final.

    Before, the network is larger than the budget allows or its channels are still
    drawn at random, so that its metrics say little about what gets delivered. In
    models without phases, such as a compact one, every epoch counts.
    """

    def _fixed(self) -> bool:
        return getattr(self.model, "phase", "fixed") == "fixed"

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._fixed():
            super().on_epoch_end(epoch, logs)


class BudgetModelCheckpoint(_OnceFixed, keras.callbacks.ModelCheckpoint):
    """`keras.callbacks.ModelCheckpoint` that waits until the budget is met.

    With `save_best_only=True` the plain one would most likely keep an early epoch,
    when nothing was cut yet.

    Args:
        *args, **kwargs: as in `keras.callbacks.ModelCheckpoint`.

    Example:

    ```python
    best = tf_lossprune.callbacks.BudgetModelCheckpoint(
        "best.keras", monitor="val_accuracy", save_best_only=True)
    pruned.fit(train, validation_data=val, epochs=10, callbacks=[best])
    compact = tf_lossprune.strip_pruning(keras.models.load_model("best.keras"))
    ```
    """

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.save_freq == "epoch":
            return
        if self._fixed():
            super().on_train_batch_end(batch, logs)


class BudgetEarlyStopping(_OnceFixed, keras.callbacks.EarlyStopping):
    """`keras.callbacks.EarlyStopping` that starts counting when the widths are fixed.

    The plain one may stop because accuracy drops at the cut, and
    `restore_best_weights` may undo the cut.

    Args:
        *args, **kwargs: as in `keras.callbacks.EarlyStopping`.
    """


class SafeBackupAndRestore(keras.callbacks.Callback):
    """`keras.callbacks.BackupAndRestore` for runs that may be killed at any moment.

    A restarted run continues after the last saved epoch, and ends as if it had not
    been interrupted, provided that the order of the data depends on nothing
    but the epoch: `fit(shuffle=False)`, as Keras' own shuffling starts over.

    Keras' own callback overwrites the only copy of the weights, and writes the number
    of the epoch after them: a run that is killed in between cannot resume, or repeats
    an epoch. Here the files of an epoch replace the previous ones atomically, and
    weights with NaN or Inf never do.

    Args:
        backup_dir: path of a local folder for this run alone, made where it is
            missing.
        delete_checkpoint: bool, whether the backup goes when `fit` is over. One that
            ended with NaN or Inf in the weights leaves it.

    Raises:
        TypeError: if `backup_dir` is not a path.
        ValueError: if it is empty.

    Example:

    ```python
    safe = tf_lossprune.callbacks.SafeBackupAndRestore("out/backup")
    pruned.fit(train, epochs=100, callbacks=[safe])  # again after a crash
    ```
    """

    def __init__(self, backup_dir: Path, delete_checkpoint: bool = True) -> None:
        super().__init__()
        self._store = Store(backup_dir, "backup_dir as the path of a folder")
        self.backup_dir = os.fspath(backup_dir)
        self.delete_checkpoint = delete_checkpoint

    def on_train_begin(self, logs: Any = None) -> None:
        record = self._store.read("epoch")
        if record is not None:
            self._store.load(self.model, record)
            internals.start_at(self.model, record["epoch"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        record = {"epoch": epoch + 1}
        self._store.save(self.model, f"epoch_{epoch + 1}", record)

    def on_train_end(self, logs: Any = None) -> None:
        if self.delete_checkpoint and not broken_weight(self.model):
            self._store.remove()


class PruningTensorBoard(keras.callbacks.TensorBoard):
    """`keras.callbacks.TensorBoard` that also logs the search.

    After every epoch it also writes, under `pruning/`, each group's keep ratio, the
    expected share of each budgeted resource and its limit, the multipliers, the
    gates' mean variance, and a histogram of the ratios.

    Args:
        *args, **kwargs: as in `keras.callbacks.TensorBoard`.
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        if not hasattr(self.model, "keep_ratios"):
            return
        with self._train_writer.as_default():
            for name, value in search_state(self.model).items():
                if np.ndim(value):
                    self.summary.histogram(f"pruning/{name}", value, step=epoch)
                else:
                    self.summary.scalar(f"pruning/{name}", value, step=epoch)


def search_state(pruned: PrunedModel) -> dict[str, Any]:
    """What the search has reached, as numbers.

    Args:
        pruned: `PrunedModel`.

    Returns:
        Dict, name -> float, or an array of them to be shown as a histogram.
    """
    gates = pruned.search
    ratios = pruned.keep_ratios()
    found: dict[str, Any] = {f"ratio/{name}": value for name, value in ratios.items()}
    found["ratios"] = np.array([*ratios.values()], "float32")
    fractions = ops.convert_to_numpy(gates.fractions(found["ratios"]))
    limits = ops.convert_to_numpy(gates.limits())
    multipliers = numpy_of(gates.multipliers)
    for index, name in enumerate(pruned.shares):
        found[f"share/{name}"] = float(fractions[index])
        found[f"limit/{name}"] = float(limits[index])
        found[f"multiplier/{name}"] = float(multipliers[index])
    found["variance"] = float(ops.convert_to_numpy(gates.variance()))
    found["phase"] = float(PHASES.index(pruned.phase))
    return found
