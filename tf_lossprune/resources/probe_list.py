"""The list of a folder of probes: which files they are, and how long they took."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from tf_lossprune.types import Path

#: The columns of the list, after which that of the files' precision follows.
COLUMNS = ("file", "signature", "inputs", "outputs", "count", "milliseconds")
PRECISION = "precision"
#: Columns of times in milliseconds.
UNITS = {"milliseconds": 1.0, "microseconds": 1e-3}


def write_list(path: Path, rows: Sequence[Mapping[str, Any]], precision: str) -> None:
    """Writes the list.

    Args:
        path: path of the `.csv` file.
        rows: list of dicts with the keys `COLUMNS`.
        precision: string, that of the files.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, (*COLUMNS, PRECISION))
        writer.writeheader()
        writer.writerows({**row, PRECISION: precision} for row in rows)


def read_list(path: Path, times: Path | None = None) -> tuple[list[tuple], str | None]:
    """Reads a list and the times of its files.

    Args:
        path: path of the list.
        times: path of a `.csv` file with the columns `file` and one of `UNITS`; None:
            the times are in the list.

    Returns:
        The rows of a `LatencyTable`; and the files' precision, None where the list does
        not say.

    Raises:
        OSError, ValueError, KeyError, TypeError: for files that are none of these.
    """
    rows = _read(path)
    if times is not None:
        found = _times(times)
        missing = [row["file"] for row in rows if row["file"] not in found]
        if missing:
            raise ValueError(f"no time of {missing[0]} and {len(missing) - 1} others")
        for row in rows:
            row["milliseconds"] = found[row["file"]]
    precisions = {str(row[PRECISION]) for row in rows if row.get(PRECISION)}
    if len(precisions) > 1:
        raise ValueError(f"files of several precisions, {sorted(precisions)}")
    return [tuple(row[c] for c in COLUMNS[1:]) for row in rows], min(
        precisions, default=None
    )


def _times(path: Path) -> dict[str, float]:
    rows = _read(path)
    units = [name for name in UNITS if rows and name in rows[0]]
    if len(units) != 1 or "file" not in rows[0]:
        raise ValueError(
            f"no line 'file,milliseconds' or 'file,microseconds' on top of {path}"
        )
    factor = UNITS[units[0]]
    return {row["file"]: factor * float(row[units[0]]) for row in rows}


def _read(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
