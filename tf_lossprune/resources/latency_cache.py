"""Keeps the latency tables of this machine from one process to the next."""

import hashlib
import json
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from tf_lossprune.resources.latency_table import LatencyTable

#: Tables of another version are measured anew: what is timed, or how, has changed.
VERSION = 2


def cache_folder() -> pathlib.Path:
    """The folder of the tables: in `$XDG_CACHE_HOME`, or else in `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(root):  # as the XDG specification has it
        root = os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(root) / "tf_lossprune" / "latency"


def cached_path(device: Mapping[str, Any], network: Iterable) -> pathlib.Path:
    """The path of a table.

    Args:
        device: dict, what is measured on, as in `LatencyTable`.
        network: JSON list of the dense model's operations.
    """
    key = json.dumps([VERSION, dict(device), [*network]], sort_keys=True)
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def read_table(
    path: pathlib.Path, device: Mapping[str, Any], needed: set[tuple]
) -> LatencyTable | None:
    """A kept table; None where there is none that can be used.

    Args:
        path: its path.
        device: dict that the table has to be of.
        needed: the `(signature, inputs, outputs)` that have to be in it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if content["version"] != VERSION or content["device"] != dict(device):
            return None
        table = LatencyTable(content["rows"], content["device"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return table if needed <= {row[:3] for row in table.rows} else None


def keep_table(path: pathlib.Path, table: LatencyTable) -> bool:
    """Writes a table, whole or not at all, whoever else is writing it.

    Returns:
        Whether that was possible; where not, there is a warning.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
        ) as file:
            part = file.name
            json.dump({"version": VERSION, **table.get_config()}, file)
        os.replace(part, path)
    except OSError as error:
        if part is not None:
            pathlib.Path(part).unlink(missing_ok=True)
        warnings.warn(
            f"The latency table of this machine could not be saved in {path.parent} "
            f"({error}), so it is measured again next time. XDG_CACHE_HOME chooses "
            "another folder.",
            stacklevel=2,
        )
        return False
    return True
