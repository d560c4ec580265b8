"""How the command line starts: it reads its arguments before the long imports.

TensorFlow and Keras take seconds to import. In a process that is the program
`lossprune` or `python -m tf_lossprune`, `tf_lossprune/__init__.py` leaves its imports
to `load`, which the command line calls once its arguments are in order. Everywhere
else the package imports all of itself at once, so that Keras knows its classes.
"""

import _thread
import importlib
import json
import os
import pathlib
import signal
import sys
import threading
import types

#: The exit code after Ctrl-C.
INTERRUPTED = 130
#: Seconds after which Ctrl-C ends the program where what it interrupts goes on, and
#: after which it is tried again where it was dropped.
PATIENCE = 10.0
SHORTLY = 0.05
_PACKAGE = __package__ or "tf_lossprune"


def _is_program():
    """Whether this process is the command line.

    While Python looks for the module of `-m`, `sys.argv[0]` is `"-m"`, and the module's
    name is the last argument before the program's own.
    """
    argv, given = sys.argv, getattr(sys, "orig_argv", [])
    processes = sys.modules.get("multiprocessing.process")
    if not argv or (processes and processes.parent_process() is not None):
        return False
    if argv[0] == "-m":
        own = len(argv) - 1
        module = given[len(given) - own - 1 : len(given) - own]
        return module in ([_PACKAGE], [f"-m{_PACKAGE}"])
    parts = pathlib.Path(argv[0]).parts
    return parts[-1:] in (("lossprune",), ("lossprune.exe",)) or (
        parts[-2:] == (_PACKAGE, "__main__.py")
    )


class _Start:
    """Where the start is.

    Attributes:
        program: bool, whether this process is the command line.
        postponed: bool, whether the package's imports are still to be made.
        interrupted: bool, whether there was a Ctrl-C.
        process: int, the program's; what it forks, to read data, says nothing.
        stdout, stderr: file descriptors of the user's streams, while 1 and 2 are
            those of TensorFlow.
    """

    def __init__(self):
        self.program = self.postponed = _is_program()
        self.interrupted = False
        self.process = os.getpid()
        self.stdout, self.stderr = 1, 2


STATE = _Start()


def package() -> types.ModuleType:
    """The package, as a module."""
    return sys.modules[_PACKAGE]


def load() -> None:
    """Makes the imports that `tf_lossprune/__init__.py` has left out."""
    if STATE.postponed:
        STATE.postponed = False
        importlib.reload(package())


def stop_at_once() -> None:
    """From now on, Ctrl-C ends the program where it is: nothing is to be kept.

    An exception could be swallowed by what is being imported.
    """
    if STATE.program:
        signal.signal(signal.SIGINT, _stop)


def stop_in_order() -> None:
    """From now on, Ctrl-C raises `KeyboardInterrupt`, so that commands clean up."""
    if STATE.program:
        sys.unraisablehook = _again
        signal.signal(signal.SIGINT, _interrupt)


def _stop(number=None, frame=None):
    if os.getpid() != STATE.process:
        os._exit(INTERRUPTED)
    os.write(STATE.stderr, b"lossprune: interrupted\n")
    if "--json" in sys.argv:
        error = {"kind": "Interrupted", "message": "interrupted", "status": INTERRUPTED}
        os.write(STATE.stdout, f"{json.dumps({'error': error})}\n".encode())
    os._exit(INTERRUPTED)


def _interrupt(number, frame):
    if STATE.interrupted or os.getpid() != STATE.process:
        _stop()
    STATE.interrupted = True
    # What Python calls from C++ may drop the exception.
    timer = threading.Timer(PATIENCE, _stop)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _again(unraisable):
    """Repeats a Ctrl-C that came while Python freed objects, which drops it."""
    if unraisable.exc_type is KeyboardInterrupt and os.getpid() == STATE.process:
        STATE.interrupted = False
        threading.Timer(SHORTLY, _send).start()
    else:
        sys.__unraisablehook__(unraisable)


def _send():
    if hasattr(signal, "pthread_kill"):  # also wakes up what is waiting
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


stop_at_once()
