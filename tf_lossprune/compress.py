"""The whole job in one call: search, strip, fine-tune the compact model."""

import dataclasses
from typing import Any

import keras

from tf_lossprune.backup import Backup
from tf_lossprune.budget import Budget
from tf_lossprune.methods import Method
from tf_lossprune.prune import check_options, prune_model, strip_pruning
from tf_lossprune.run import Run
from tf_lossprune.types import Data, Limits, Path


@dataclasses.dataclass
class CompressionResult:
    """What `compress` did.

    Attributes:
        dense, compact: dicts with `"macs"`, `"params"` and, if validation data
            was given, the loss and metrics on it.
        budget: dict, resource -> asked share.
        groups: list of dicts with `"name"`, `"kept"`, `"total"`, `"ratio"`.
        history: dict with `"search"` and `"fine_tune"`, as Keras' `history`.
        seconds: dict with `"search"`, `"strip"` and `"fine_tune"`.
    """

    dense: dict
    compact: dict
    budget: dict
    groups: list
    history: dict
    seconds: dict

    @classmethod
    def of(cls, budget, channels, dense, compact, history, seconds):
        """Puts the result together.

        Args:
            budget: `Budget`.
            channels: dict, group name -> (kept channels, all channels).
            dense, compact, history, seconds: as above.
        """
        groups = [
            {"name": name, "kept": kept, "total": size, "ratio": kept / size}
            for name, (kept, size) in channels.items()
        ]
        return cls(dense, compact, dict(budget.limits), groups, history, seconds)

    def to_dict(self):
        """All of it as plain Python values, for JSON."""
        return dataclasses.asdict(self)


def compress(
    model: keras.Model,
    budget: Budget | Limits,
    train: Data,
    validation: Data = None,
    *,
    epochs: int = 5,
    batch_size: int | None = None,
    optimizer: Any = None,
    loss: Any = None,
    metrics: Any = None,
    method: str | Method = "loss",
    search_epochs: float | None = None,
    distill: bool | float = False,
    temperature: float = 3.0,
    statistics_batches: int = 32,
    callbacks: list[keras.callbacks.Callback] | None = None,
    jit_compile: bool | str = "auto",
    verbose: int | str = "auto",
    backup: Path | Backup | None = None,
    **prune_options: Any,
) -> tuple[keras.Model, CompressionResult]:
    """Searches the widths, strips, and fine-tunes the compact model.

    Other than `prune_model` and one long `fit`, the fine-tuning runs on the small
    model already, at its speed.

    Args:
        model: built functional or Sequential `keras.Model`; not changed.
        budget: as in `prune_model`.
        train: training data: `tf.data.Dataset`, `keras.utils.PyDataset` or a tuple
            `(x, y)` of arrays.
        validation: validation data or None, as `validation_data` in `fit`.
        epochs: int >= 1, passes over the data in all, search included.
        batch_size: int or None, for arrays.
        optimizer: Keras optimizer; its learning rate schedule runs once over all
            epochs. None: the model's own.
        loss, metrics: as in `compile`. None: the model's own.
        method: as in `prune_model`.
        search_epochs: float in (0, epochs] or None; may be broken. None: 0.15 of
            them, at most 1,000 steps; of less than about 1,300 steps up to 0.3, until
            it has 200 steps. Methods that do not learn the widths while they train
            have none.
        distill: bool or float in (0, 1]: whether, or with which weight, the
            compact model also learns the dense model's outputs, which must be
            logits (`keras.distillation`; Hinton et al., 2015, arXiv 1503.02531).
            True means 0.5.
        temperature: float > 0, softens both outputs for the distillation.
        statistics_batches: int >= 0, training batches from which batch
            normalisation statistics are re-estimated after the cut.
        callbacks: list of callbacks for both parts.
        jit_compile: as in `compile`.
        verbose: as in `fit`.
        backup: path of a folder of its own, a `tf_lossprune.backup.Backup`, or None.
            While the call runs, its state is kept there: after a kill or Ctrl-C, the
            same call goes on where it was. The folder is removed at the end.
        **prune_options: further arguments of `prune_model`. A `schedule`'s phases
            are scaled to the search.

    Returns:
        The compact functional `keras.Model` (compiled with loss and metrics), and
        a `CompressionResult`.

    Raises:
        TypeError, ValueError, InfeasibleBudgetError: as `prune_model`, before any
            training; ValueError if there is no loss.

    Example:

    ```python
    compact, result = tf_lossprune.compress(
        model, {"macs": 0.5}, train, val, epochs=5,
        optimizer=keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    ```
    """
    check_options(prune_options)
    run = Run(
        model,
        train,
        validation,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        method=method,
        search_epochs=search_epochs,
        distill=distill,
        temperature=temperature,
        statistics_batches=statistics_batches,
        callbacks=callbacks,
        jit_compile=jit_compile,
        verbose=verbose,
        backup=backup,
    )
    options = run.prune_options(prune_options)
    pruned = prune_model(model, budget, method=method, **options)
    (compact,), history, seconds = run.execute(pruned, lambda: [strip_pruning(pruned)])
    return compact, CompressionResult.of(
        pruned.budget,
        pruned.kept_channels(),
        run.figures(run.dense),
        run.figures(compact),
        history,
        seconds,
    )
