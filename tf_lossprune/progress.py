"""Tells how far something has come that takes a while."""

import sys
import time
from types import TracebackType

#: Seconds between two lines where a line cannot be written over.
SELDOM, OFTEN = 10.0, 0.1


class Progress:
    """A line that counts; where the output is no terminal, one now and then.

    Args:
        title: string, what is going on.
        total: int, what is counted up to; None: nothing is counted.
        shown: bool.

    Example:

    ```python
    with Progress("Converting", len(models)) as progress:
        for model in models:
            convert(model)
            progress.advance()
    ```
    """

    def __init__(self, title: str, total: int | None, shown: bool = True) -> None:
        self._title, self._total, self._shown = title, total, shown
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
        if time.monotonic() - self._told > (OFTEN if self._over else SELDOM):
            self._tell(self._over)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._began
        self._tell(False, "" if kind else f" in {seconds:.1f} s")

    def _tell(self, goes_on: bool, more: str = "") -> None:
        self._told = time.monotonic()
        if self._shown:
            start = "\r" if self._over else ""
            count = "" if self._total is None else f": {self._done}/{self._total}"
            print(
                f"{start}{self._title}{count}{more}",
                end="" if goes_on else "\n",
                flush=True,
            )
