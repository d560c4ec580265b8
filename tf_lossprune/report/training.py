"""Records what happens while it trains, for the charts of a report."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tf_lossprune.keras_internals import own_steps
from tf_lossprune.report.data import plain
from tf_lossprune.training.phases import StepCallback
from tf_lossprune.types import Path


class TrainingLog(StepCallback):
    """Appends what the progress bar shows to a file, every few steps.

    One line of JSON for each point: `step` (since the beginning of the search),
    `part` (`"search"` or `"fine_tune"`) and the logs; validation metrics at the end
    of each epoch. A run that goes on from a `backup` goes on in the file: points from
    after the state it restored are dropped.

    Args:
        path: path of the file, `.jsonl`.
        every: int >= 1, steps between two points.

    Example:

    ```python
    log = report.TrainingLog("training.jsonl", every=20)
    compact, result = tf_lossprune.compress(model, budget, train, callbacks=[log])
    data = report.report_data(result, training=log.points())
    ```
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"Expected every as at least 1. Received: {every!r}")
        self._path, self._every = pathlib.Path(path), every
        self._step, self._logged, self._logs = 0, 0, {}

    def points(self) -> list[dict[str, Any]]:
        """List of the points in the file, as dicts."""
        if not self._path.exists():
            return []
        points = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                points.append(json.loads(line))
            except ValueError:  # torn, by a kill
                break
        return points

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        # Counts on over the cut, and from the search to the fine-tuning of a frontier.
        self._step = self._iterations()
        kept = [p for p in self.points() if p["step"] <= self._step]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{json.dumps(point)}\n" for point in kept)
        self._path.write_text(lines, encoding="utf-8")
        self._logged = self._step

    def _iterations(self) -> int:
        optimizer = self.model.optimizer
        return int(own_steps(getattr(optimizer, "inner_optimizer", optimizer)))

    def on_train_batch_end(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        self._logs = dict(logs or {})
        super().on_train_batch_end(batch, logs)

    def on_steps(self, done: int) -> None:
        self._step += done
        if self._step - self._logged >= self._every:
            self._logged = self._step
            self._write(self._logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        validation = {k: v for k, v in (logs or {}).items() if k.startswith("val_")}
        if validation:
            self._write(validation)

    def _write(self, logs: Mapping[str, Any]) -> None:
        values = {name: _number(value) for name, value in logs.items()}
        searching = not getattr(self.model, "is_compact", True)
        part = "search" if searching else "fine_tune"
        point = {"step": self._step, "part": part, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(plain(point))}\n")


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
