"""`lossprune strip` and `lossprune convert`."""

import os
import pathlib

import numpy as np

from tf_lossprune.cli.command import InputError, Result
from tf_lossprune.cli.commands import convert_out, strip_out
from tf_lossprune.cli.images import read_unlabelled
from tf_lossprune.cli.inputs import load_model, read_source
from tf_lossprune.cli.outputs import written
from tf_lossprune.deploy import to_litert
from tf_lossprune.prune import strip_pruning
from tf_lossprune.resources import known_costs
from tf_lossprune.tables.figures import text_of
from tf_lossprune.training import PrunedModel


def strip(values, arguments):
    """Runs `lossprune strip`, as `Command.run`."""
    out = strip_out(values, arguments)
    pruned = load_model(arguments[0])
    if not isinstance(pruned, PrunedModel):
        raise InputError(
            "Expected a PrunedModel, made by `prune_model` and saved before it was "
            "stripped; from other models there is nothing to strip. "
            f"Received: {arguments[0]!r}"
        )
    compact = strip_pruning(pruned)
    with written(out) as part:
        compact.save(part)
    costs = known_costs(compact)
    data = {
        "out": out,
        "budget": dict(pruned.budget.limits),
        "cost": costs,
        "groups": [
            {"name": name, "kept": kept, "total": total}
            for name, (kept, total) in pruned.kept_channels().items()
        ],
    }
    texts = ", ".join(f"{name} {text_of(name, v)}" for name, v in costs.items())
    return Result(data, f"Written to {out}: {texts}")


def convert(values, arguments):
    """Runs `lossprune convert`, as `Command.run`."""
    out = convert_out(values, arguments)
    model = load_model(arguments[0])
    if isinstance(model, PrunedModel):
        raise InputError(
            f"Expected a compact model: `lossprune strip {arguments[0]}` takes it out "
            f"of a PrunedModel. Received: {arguments[0]!r}"
        )
    samples = _samples(values, model) if values.precision.startswith("int8") else None
    with written(out) as part:
        to_litert(model, part, values.precision, samples)
    size = os.path.getsize(out)
    data = {"out": out, "precision": values.precision, "tflite_bytes": size}
    text = f"Written to {out}: {values.precision}, {text_of('tflite_bytes', size)}"
    return Result(data, text)


def _samples(values, model):
    if values.data.endswith(".npy"):
        try:
            return np.load(values.data)
        except (OSError, ValueError) as error:
            raise InputError(
                f"Expected --data as a .npy file of inputs ({error}). "
                f"Received: {values.data!r}"
            ) from error
    if pathlib.Path(values.data).is_dir():
        return read_unlabelled(values.data, model, values)
    return read_source(values.data, values, model).train
