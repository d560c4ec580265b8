"""Keeps what TensorFlow logs off standard error."""

import logging
import os
import sys
import tempfile
import warnings

from tf_lossprune import start
from tf_lossprune.cli.words import in_shell_words

#: TensorFlow's own variable; "0" asks for its messages.
LEVEL = "TF_CPP_MIN_LOG_LEVEL"


class Quiet:
    """From its creation on, what C++ writes to standard error goes to a file.

    TensorFlow, XLA and LiteRT log before and past all their settings. Python's
    `sys.stderr` still reaches the user. Only for a process that is the command line.
    """

    def __init__(self):
        os.environ.setdefault(LEVEL, "3")
        for name in ("tensorflow", "absl"):
            logging.getLogger(name).setLevel(logging.ERROR)
        sys.stderr.flush()
        self._file = tempfile.TemporaryFile()
        start.STATE.stderr = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        sys.stderr = open(
            start.STATE.stderr, "w", buffering=1, errors="backslashreplace"
        )

    def show(self):
        """Shows what was held back, for an error that nobody expected."""
        self._file.seek(0)
        sys.stderr.write(self._file.read().decode(errors="replace"))


def wanted(values):
    """Whether the user wants to see what TensorFlow logs.

    Args:
        values: parsed `FlagValues`.
    """
    return values.verbose_tf or os.environ.get(LEVEL) == "0"


def show_warnings_in_a_line():
    """Prints warnings as messages of the command line."""

    def show(message, category, filename, lineno, file=None, line=None):
        text = in_shell_words(" ".join(str(message).split()))
        print(f"lossprune: warning: {text}", file=file or sys.stderr)

    warnings.showwarning = show
