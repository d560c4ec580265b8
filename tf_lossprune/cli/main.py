"""Finds the command, runs it, prints its result and chooses the exit code."""

import contextlib
import difflib
import json
import os
import sys
import traceback

from tf_lossprune.cli import convert, hooks, inspect, measure, prune, report
from tf_lossprune.cli.command import InputError
from tf_lossprune.errors import InfeasibleBudgetError
from tf_lossprune.report.data import plain
from tf_lossprune.version import __version__

OK, BAD_INPUT, INFEASIBLE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130

COMMANDS = {
    command.name: command
    for command in (
        inspect.COMMAND,
        prune.COMMAND,
        convert.STRIP,
        convert.CONVERT,
        measure.BENCHMARK,
        measure.COMPARE,
        report.COMMAND,
    )
}


def main(argv=None):
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
    if not argv or argv[0] in ("help", "--help", "-h"):
        print(_overview())
        return OK if argv else BAD_INPUT
    if argv[0] == "--version":
        print(f"tf_lossprune {__version__}")
        return OK
    in_json = any(word in ("--json", "-json", "--json=true") for word in argv)
    with_traceback = "--traceback" in argv
    error: Exception | None = None
    try:
        command = _find(argv[0])
        if {"--help", "-h"} & set(argv[1:]):
            print(command.help())
            return OK
        values, arguments = command.parse(argv[1:])
        with _stdout_to_stderr():
            for name in values["import"].value:
                hooks.load(name)
            result = command.run(values, arguments)
        print(json.dumps(plain(result.data)) if in_json else result.text)
        return OK
    except KeyboardInterrupt:
        status = INTERRUPTED
    except InfeasibleBudgetError as raised:
        status, error = INFEASIBLE, raised
    except (ValueError, TypeError, OSError, ImportError) as raised:
        status, error = BAD_INPUT, raised
    except Exception as raised:  # a bug, here or in what is used
        status, error, with_traceback = INTERNAL, raised, True
    _tell(status, error, with_traceback, in_json)
    return status


def run():
    """Runs the command line as a program of its own; does not return."""
    status = main()
    if status == INTERRUPTED:
        # Threads that were reading data may wait for ever for a step that never comes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _find(name):
    if name in COMMANDS:
        return COMMANDS[name]
    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(
        f"Expected a command among {', '.join(COMMANDS)}.{hint} Received: {name!r}"
    )


def _overview():
    width = max(map(len, COMMANDS))
    lines = ["Structured pruning of Keras models to a budget.", ""]
    lines += ["usage: lossprune COMMAND [arguments] [flags]", ""]
    lines += [f"  {c.name:{width}}  {c.summary}" for c in COMMANDS.values()]
    lines += ["", "`lossprune COMMAND --help` lists the flags of a command."]
    return "\n".join(lines)


def _tell(status, error, with_traceback, in_json):
    """Says what went wrong: a line on standard error, an object with `--json`."""
    if error is not None and with_traceback:
        traceback.print_exception(error, file=sys.stderr)
    kind = "Interrupted" if error is None else type(error).__name__
    message = " ".join(str(error).split()) if error is not None else "interrupted"
    print(f"lossprune: {message or kind}", file=sys.stderr)
    if in_json:
        found = {"kind": kind, "message": message, "status": status}
        if getattr(error, "smallest", None):
            found["smallest"] = error.smallest
        print(json.dumps(plain({"error": found})))


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
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
