"""What C++ code writes to the terminal, past Python."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def captured_stderr(stdout: bool = False) -> Iterator[Callable[[], str]]:
    """Keeps what C++ code writes to standard error off the terminal.

    Args:
        stdout: Whether standard output is kept, too.

    Yields:
        A function that returns what was written so far.
    """
    with tempfile.TemporaryFile() as log, contextlib.ExitStack() as stack:

        def read_log() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        for number in (1, 2) if stdout else (2,):
            try:
                terminal = os.dup(number)
            except OSError:  # There is no such stream to keep quiet.
                continue
            if number == 1:
                # What Python has not written yet belongs before.
                sys.stdout.flush()
            os.dup2(log.fileno(), number)
            stack.callback(os.close, terminal)
            stack.callback(os.dup2, terminal, number)
        yield read_log
