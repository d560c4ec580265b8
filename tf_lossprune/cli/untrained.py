"""`lossprune prune --epochs=0`: no labels, no training."""

import pathlib
from typing import Any

import keras
import numpy as np

from tf_lossprune.budget import Budget
from tf_lossprune.cli.command import InputError
from tf_lossprune.cli.images import read_unlabelled
from tf_lossprune.cli.inputs import Source
from tf_lossprune.compression import CompressionResult, compress

#: What compress gets of the hooks' settings: what it evaluates with.
_EVALUATION = (
    "loss",
    "metrics",
    "loss_weights",
    "weighted_metrics",
    "validation_steps",
)


def compress_untrained(
    values: Any, source: Source, budget: Budget, options: dict
) -> tuple[keras.Model, CompressionResult, Any]:
    """Prunes and calibrates.

    Args:
        values: parsed flags of `prune`.
        source: `Source`; without training data there have to be others.
        budget: `Budget`.
        options: dict of arguments of `prune_model`.

    Returns:
        The compact model, the `CompressionResult`, and the inputs it was calibrated
        with.

    Raises:
        InputError: if there are no inputs.
    """
    inputs = _inputs(values, source)
    compact, result = compress(
        source.model,
        budget,
        None,
        source.validation,
        method=values.method,
        epochs=0,
        calibration=inputs,
        batch_size=values.batch_size,
        **source.given(*_EVALUATION),
        **options,
    )
    return compact, result, inputs


def _inputs(values, source):
    """What to calibrate with: of the flag, else the training data's inputs."""
    given = values.calibration
    if given and pathlib.Path(given).is_dir():
        return read_unlabelled(given, source.model, values)
    if given:
        try:
            return np.load(given)
        except (OSError, ValueError) as error:
            raise InputError(
                f"Expected --calibration as a .npy file of inputs ({error}). "
                f"Received: {given!r}"
            ) from error
    if source.train is None:
        raise InputError(
            "Expected --calibration=FOLDER|FILE.npy, or a function `data` among the "
            "hooks, for --epochs=0. Received: neither"
        )
    return source.train[0] if isinstance(source.train, tuple) else source.train
