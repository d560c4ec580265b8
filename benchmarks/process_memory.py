"""The peak of this process' memory."""

import ctypes
import pathlib
import resource
import sys


def peak_memory():
    """Peak of the resident memory of this process in MiB."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # Not getrusage, whose peak a new process inherits from the one it left.
        lines = (line.split() for line in status.read_text().splitlines())
        return next(int(line[1]) for line in lines if line[0] == "VmHWM:") / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak():
    """Hands free memory back and starts a new peak; returns whether that worked."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    except (AttributeError, OSError):
        return False
    return True
