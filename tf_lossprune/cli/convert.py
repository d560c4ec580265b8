"""`lossprune strip` and `lossprune convert`."""

import os
import pathlib

import numpy as np
from absl import flags

from tf_lossprune.cli.command import (
    Command,
    InputError,
    Result,
    define_data,
    define_precision,
)
from tf_lossprune.cli.inputs import check_model_path, load_model, read_source
from tf_lossprune.resources import known_costs
from tf_lossprune.tables.figures import text_of


def _define_strip(values):
    flags.DEFINE_string(
        "out", None, "File to write; default: NAME-compact.keras.", flag_values=values
    )


def _strip(values, arguments):
    from tf_lossprune.prune import strip_pruning

    source = pathlib.Path(arguments[0])
    out = values.out or str(source.with_name(f"{source.stem}-compact.keras"))
    _check_out(out, source, ".keras")
    pruned = load_model(arguments[0])
    compact = strip_pruning(pruned)
    _make_folder(out)
    compact.save(out)
    kept, costs = pruned.kept_channels(), known_costs(compact)
    data = {
        "out": out,
        "budget": dict(pruned.budget.limits),
        "cost": costs,
        "groups": [
            {"name": name, "kept": kept, "total": total}
            for name, (kept, total) in kept.items()
        ],
    }
    texts = ", ".join(f"{name} {text_of(name, v)}" for name, v in costs.items())
    return Result(data, f"Written to {out}: {texts}")


def _define_convert(values):
    flags.DEFINE_string(
        "out", None, "File to write; default: NAME.tflite.", flag_values=values
    )
    flags.DEFINE_string(
        "data",
        None,
        "For int8: typical inputs, a .npy file, a folder of images, or a Python file "
        "with a function `data`.",
        flag_values=values,
    )
    define_precision(values)
    define_data(values)


def _convert(values, arguments):
    from tf_lossprune.deploy import to_litert

    source = pathlib.Path(arguments[0])
    out = values.out or str(source.with_suffix(".tflite"))
    int8 = values.precision.startswith("int8")
    if int8 and not values.data:
        raise InputError(
            "Expected --data=FILE.npy|FOLDER|FILE.py with typical inputs for "
            f"--precision={values.precision}. Received: none"
        )
    _check_out(out, source, ".tflite")
    model = load_model(arguments[0])
    samples = _samples(values, model) if int8 else None
    _make_folder(out)
    to_litert(model, out, values.precision, samples)
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
    return read_source(values.data, values, model).train


def _check_out(out, source, suffix):
    if not out.endswith(suffix):
        raise InputError(f"Expected --out ending in {suffix}. Received: {out!r}")
    check_model_path(str(source))
    if pathlib.Path(out).resolve() == source.resolve():
        raise InputError(f"Expected --out other than the input. Received: {out!r}")


def _make_folder(path):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)


STRIP = Command(
    "strip",
    "PRUNED.keras",
    "Take the compact model out of a saved PrunedModel.",
    (1, 1),
    _define_strip,
    _strip,
)
CONVERT = Command(
    "convert",
    "MODEL.keras",
    "Convert a model to a .tflite file.",
    (1, 1),
    _define_convert,
    _convert,
)
