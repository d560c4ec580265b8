"""Reads the line, runs the command, prints its result and chooses the exit code."""

import contextlib
import json
import os
import sys
import traceback

from tf_lossprune import start
from tf_lossprune.cli import checks, hooks, quiet
from tf_lossprune.cli.command import CommandLine, InputError
from tf_lossprune.cli.commands import COMMANDS
from tf_lossprune.cli.words import in_shell_words, with_name
from tf_lossprune.errors import InfeasibleBudgetError

OK, BAD_INPUT, INFEASIBLE, INTERNAL = 0, 1, 2, 3
INTERRUPTED = start.INTERRUPTED


def main(argv: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: list of strings, the program's name first; None: `sys.argv`.

    Returns:
        The exit code: 0; 1 for wrong use or input; 2 for a budget that cannot be
        met; 3 for an error in the program; 130 after Ctrl-C.

    Example:
        >>> main(["lossprune", "inspect", "model.keras"])
        0
    """
    argv = list(sys.argv if argv is None else argv)[1:]
    line = CommandLine(COMMANDS)
    if argv[:1] in ([], ["help"]):
        line.print_help()
        return OK if argv else BAD_INPUT
    told = _Told(argv)
    try:
        command, values, arguments = line.parse(argv)
        for name in values["import"].value:
            checks.check_module(name)
        command.check(values, arguments)
    except SystemExit:  # after --help and --version
        return OK
    except InputError as error:
        return told.error(BAD_INPUT, error)
    return _run(command, values, arguments, told)


def run() -> None:
    """Runs the command line as a program of its own; does not return."""
    status = main()
    start.stop_at_once()
    if status == INTERRUPTED:
        # Threads that were reading data may wait for ever for a step that never comes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _run(command, values, arguments, told):
    """Imports the rest, runs a command and returns the exit code."""
    held = None
    if start.STATE.program and not quiet.wanted(values):
        with contextlib.suppress(OSError):  # standard error is closed
            held = quiet.Quiet()
    try:
        with _stdout_to_stderr():
            start.load()
            start.stop_in_order()
            if start.STATE.program:
                quiet.show_warnings_in_a_line()
            for name in values["import"].value:
                hooks.load(name)
            result = command.run(values, arguments)
            start.stop_at_once()
        if start.STATE.interrupted:
            raise KeyboardInterrupt
        told.result(result)
        return OK
    except KeyboardInterrupt:
        return told.error(INTERRUPTED)
    except InfeasibleBudgetError as error:
        return told.error(INFEASIBLE, error, arguments)
    except (ValueError, TypeError, OSError, ImportError) as error:
        return told.error(BAD_INPUT, error, arguments)
    except Exception as error:  # a bug, here or in what is used
        if held is not None and not start.STATE.interrupted:
            held.show()
        return told.error(INTERNAL, error, arguments, with_traceback=True)


class _Told:
    """What is told of a result or an error.

    Args:
        argv: list of strings, the command line.
    """

    def __init__(self, argv):
        self._json = "--json" in argv
        self._traceback = "--traceback" in argv

    def result(self, result):
        """Prints a `Result`."""
        from tf_lossprune.report.data import plain

        print(json.dumps(plain(result.data)) if self._json else result.text)

    def error(self, status, error=None, arguments=(), with_traceback=False):
        """Prints a line on standard error, and an object with `--json`.

        Args:
            status: int, the exit code.
            error: exception, or None after Ctrl-C.
            arguments: list of strings, the files that it may be about.
            with_traceback: bool.

        Returns:
            The exit code.
        """
        if start.STATE.interrupted:  # whatever became of the exception on its way
            status, error = INTERRUPTED, None
        if error is not None and (with_traceback or self._traceback):
            traceback.print_exception(error, file=sys.stderr)
        kind, message = "Interrupted", "interrupted"
        if error is not None:
            kind = type(error).__name__
            message = " ".join(str(error).split()) or kind
            message = with_name(in_shell_words(message), arguments)
        print(f"lossprune: {message}", file=sys.stderr)
        if self._json:
            found = {"kind": kind, "message": message, "status": status}
            if getattr(error, "smallest", None):
                found["smallest"] = error.smallest
            print(json.dumps({"error": found}, default=float))
        return status


@contextlib.contextmanager
def _stdout_to_stderr():
    """Sends progress to standard error, so that standard output holds the result.

    Also what is written past Python's `sys.stdout`, by C++ or by other processes.
    """
    sys.stdout.flush()
    saved = None
    if sys.stdout is sys.__stdout__:
        with contextlib.suppress(OSError, ValueError):  # one of them is closed
            saved = os.dup(1)
            os.dup2(2, 1)
            start.STATE.stdout = saved
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if saved is not None:
            os.dup2(saved, 1)
            start.STATE.stdout = 1
            os.close(saved)
