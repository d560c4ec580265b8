"""Keras' callbacks for models whose widths change while they train."""

import keras
import numpy as np
from keras import ops


class _OnceFixed:
    """Lets a callback see only epochs in which the widths are final.

    Before, the network is larger than the budget allows or its channels are still
    drawn at random, so that its metrics say little about what gets delivered. In
    models without phases, such as a compact one, every epoch counts.
    """

    def _fixed(self):
        return getattr(self.model, "phase", "fixed") == "fixed"

    def on_epoch_end(self, epoch, logs=None):
        if self._fixed():
            super().on_epoch_end(epoch, logs)


class BudgetModelCheckpoint(_OnceFixed, keras.callbacks.ModelCheckpoint):
    """`keras.callbacks.ModelCheckpoint` that saves no epoch from before the budget.

    With `save_best_only=True` the plain one would most likely keep an early epoch,
    when nothing was cut yet.

    Args:
        *args, **kwargs: as in `keras.callbacks.ModelCheckpoint`.

    Example:

    ```python
    best = tf_lossprune.BudgetModelCheckpoint(
        "best.keras", monitor="val_accuracy", save_best_only=True)
    pruned.fit(train, validation_data=val, epochs=10, callbacks=[best])
    compact = tf_lossprune.strip_pruning(keras.models.load_model("best.keras"))
    ```
    """

    def on_train_batch_end(self, batch, logs=None):
        if self.save_freq == "epoch":
            return
        if hasattr(self.model, "sync_state"):
            self.model.sync_state()
        if self._fixed():
            super().on_train_batch_end(batch, logs)


class BudgetEarlyStopping(_OnceFixed, keras.callbacks.EarlyStopping):
    """`keras.callbacks.EarlyStopping` that starts to count when the widths are fixed.

    The plain one may take the accuracy that the cut costs for a reason to stop,
    and `restore_best_weights` for one to undo it.

    Args:
        *args, **kwargs: as in `keras.callbacks.EarlyStopping`.
    """


class PruningTensorBoard(keras.callbacks.TensorBoard):
    """`keras.callbacks.TensorBoard` with what the search does.

    After every epoch it also writes, under `pruning/`, each group's keep ratio, the
    expected share of each budgeted resource and its limit, the multipliers, the
    gates' mean variance, and a histogram of the ratios.

    Args:
        *args, **kwargs: as in `keras.callbacks.TensorBoard`.
    """

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if not hasattr(self.model, "keep_ratios"):
            return
        with self._train_writer.as_default():
            for name, value in search_state(self.model).items():
                if np.ndim(value):
                    self.summary.histogram(f"pruning/{name}", value, step=epoch)
                else:
                    self.summary.scalar(f"pruning/{name}", value, step=epoch)


def search_state(pruned):
    """What the search has reached, as numbers.

    Args:
        pruned: `PrunedModel`.

    Returns:
        Dict, name -> float, or an array of them to be shown as a histogram.
    """
    gates = pruned.gates
    ratios = pruned.keep_ratios()
    found = {f"ratio/{name}": value for name, value in ratios.items()}
    found["ratios"] = np.array([*ratios.values()], "float32")
    fractions = ops.convert_to_numpy(gates.fractions(found["ratios"]))
    limits = ops.convert_to_numpy(gates.limits())
    multipliers = ops.convert_to_numpy(gates.multipliers.value)
    for index, name in enumerate(pruned.shares):
        found[f"share/{name}"] = float(fractions[index])
        found[f"limit/{name}"] = float(limits[index])
        found[f"multiplier/{name}"] = float(multipliers[index])
    found["variance"] = float(ops.convert_to_numpy(gates.variance()))
    found["phase"] = float(("warmup", "search", "fixed").index(pruned.phase))
    return found
