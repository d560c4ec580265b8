"""Tells how far something has come that takes a while."""

import contextlib
import contextvars
import sys
import time
from collections.abc import Iterator
from types import TracebackType

#: Seconds between two lines where a line cannot be written over.
SELDOM, OFTEN = 10.0, 0.1
#: Seconds before the first line of what is over at once with most models.
PATIENCE = 3.0

_SILENT: contextvars.ContextVar = contextvars.ContextVar("silent", default=False)


@contextlib.contextmanager
def silent(wanted: bool = True) -> Iterator[None]:
    """Keeps what is done inside from telling how far it is."""
    token = _SILENT.set(wanted or _SILENT.get())
    try:
        yield
    finally:
        _SILENT.reset(token)


class Progress:
    """A line that counts; where the output is no terminal, one now and then.

    Args:
        title: string, what is going on.
        total: int, what is counted up to; None: nothing is counted.
        shown: bool.
        patience: float, seconds during which nothing is told.

    Example:

    ```python
    with Progress("Converting", len(models)) as progress:
        for model in models:
            convert(model)
            progress.advance()
    ```
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        shown: bool = True,
        patience: float = 0.0,
    ) -> None:
        self._title, self._total = title, total
        self._shown = shown and not _SILENT.get()
        self._patience, self._has_told = patience, False
        self._done = 0
        self._began = self._told = time.monotonic()
        self._over = sys.stdout.isatty()

    def __enter__(self) -> "Progress":
        if self._over or self._total is not None:
            self._tell(self._over)
        return self

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        waited = time.monotonic() - self._told
        first = self._patience and not self._has_told
        if waited > (OFTEN if self._over else SELDOM) or first:
            self._tell(self._over)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._began
        if self._patience and not self._has_told:
            return  # what was not begun needs no end
        self._tell(False, "" if kind else f" in {seconds:.1f} s")

    def _tell(self, goes_on: bool, more: str = "") -> None:
        now = time.monotonic()
        if now - self._began < self._patience:
            return
        self._told, self._has_told = now, True
        if self._shown:
            start = "\r" if self._over else ""
            count = "" if self._total is None else f": {self._done}/{self._total}"
            print(
                f"{start}{self._title}{count}{more}",
                end="" if goes_on else "\n",
                flush=True,
            )
