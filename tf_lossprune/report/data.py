"""What a report says, as plain data: the content of `report.json`."""

import dataclasses
import json
import math
import pathlib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tf_lossprune.budget import Budget
from tf_lossprune.tables.figures import figure_of
from tf_lossprune.types import Path
from tf_lossprune.version import __version__


def report_data(
    result: Any,
    *,
    training: Iterable[Mapping[str, Any]] = (),
    frontier: Sequence[Any] = (),
    uniform: Any = None,
    classes: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Puts together what a report says.

    Args:
        result: `CompressionResult`. Further figures in its `dense` and `compact`,
            such as `"tflite_bytes"` and `"latency_ms"`, are shown as well.
        training: list of points, dicts with `step`, `part` (`"search"` or
            `"fine_tune"`) and what was logged; see `TrainingLog`. Without them the
            epochs of `result.history` are drawn.
        frontier: further `CompressionResult`s of the same dense model.
        uniform: `CompressionResult` of uniform widths under the same budget, whose
            figures are to stand beside; None: what they cost, without metrics.
        classes: what `class_figures` returns, or None.
        **more: further entries: `name`, `method`, `seed`, `epochs`, `precision`,
            `data`, `steps_per_epoch`, `created`, `device` and `threads` (of the
            times), `versions` (dict).

    Returns:
        A dict of plain values for JSON and `write_html`.

    Example:

    ```python
    data = report.report_data(result, name="ResNet-20", method="loss")
    report.write_json("report.json", data)
    report.write_html("report.html", data)
    ```
    """
    versions = {"tf_lossprune": __version__, "keras": keras.__version__}
    return plain(
        {
            "format": 1,
            "name": result.name,
            **more,
            "dense": result.dense,
            "compact": result.compact,
            "budget": result.budget,
            "limits": _limits(result),
            "usage": result.usage and dataclasses.asdict(result.usage),
            "groups": [_widths(entry) for entry in result.groups],
            "layers": result.layers,
            "layer_costs": result.layer_costs,
            "uniform": _uniform(result, uniform),
            "classes": classes,
            "frozen": [{"layer": n, "reason": why} for n, why in result.frozen],
            "history": result.history,
            "training": list(training),
            "seconds": result.seconds,
            "frontier": [
                {"budget": r.budget, "figures": r.compact} for r in (result, *frontier)
            ]
            if frontier
            else [],
            "shared_training": bool(frontier and result.history.get("search"))
            and all(r.history == result.history for r in frontier),
            "versions": {**versions, **more.get("versions", {})},
        }
    )


def read_json(path: Path) -> dict[str, Any]:
    """Reads a `report.json`.

    Args:
        path: its path.

    Returns:
        A dict.

    Raises:
        ValueError: if there is no such file, or it holds no report.
    """
    path = pathlib.Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Expected a report.json ({error}). Received: {str(path)!r}"
        ) from None
    if not isinstance(data, dict) or not {"dense", "compact"} <= set(data):
        raise ValueError(
            "Expected a report.json with the figures of a dense and a compact network. "
            f"Received: {str(path)!r}"
        )
    return data


def write_json(path: Path, data: Mapping[str, Any]) -> str:
    """Writes report data to a file.

    Args:
        path: path of the file; its folder is made where it is missing.
        data: dict of plain values.

    Returns:
        The path, a string.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(data), indent=2) + "\n", encoding="utf-8")
    return str(path)


def plain(value: Any) -> Any:
    """A value as JSON has it: no arrays, no NaN or infinity (None instead)."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _widths(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a page shows of a group: not each single channel."""
    return {k: v for k, v in entry.items() if k not in ("channels", "scores")}


def _uniform(result: Any, trained: Any) -> dict[str, Any]:
    """Figures of uniform widths; none if these are ours."""
    if trained is not None:
        return {**trained.compact, "widths": trained.widths}
    ours = result.uniform.get("widths") == result.widths
    return {} if ours else result.uniform


def _limits(result: Any) -> list[dict[str, Any]]:
    """What the budget allows and what was reached, each in its own unit."""
    found = []
    for name, limit in result.budget.items():
        figure = figure_of(name)
        dense, reached = result.dense.get(figure), result.compact.get(figure)
        entry = {"resource": name, "dense": dense, "reached": reached}
        try:
            budget = Budget({name: limit})
        except ValueError:  # of the user's own, or in milliseconds of another moment
            budget = None
        if budget and dense is not None:
            allowed = budget.allowed(name, types.SimpleNamespace(dense=dense))
            entry["allowed"] = allowed
            entry["kept"] = None if reached is None else bool(reached <= allowed)
        found.append(entry)
    return found
