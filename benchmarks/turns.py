"""Programs that take turns on the machine: its changes of speed hit all of them."""

import os
import signal
import subprocess
import time

#: Seconds between two looks at whether a program has ended.
LOOK = 0.05


def take_turns(lanes, seconds):
    """Runs programs in lanes that take turns; one program runs, the others stand still.

    Needs a system with `SIGSTOP`.

    Args:
        lanes: List of lanes, each a list of commands, run one after the other.
        seconds: List, how long a turn of each lane is.

    Returns:
        List of lanes, each a list with the turns of each command: pairs
        `(began, ended)` of `time.time`.

    Raises:
        subprocess.CalledProcessError: If a program fails; the others are ended.
    """
    turns = [[[] for _ in lane] for lane in lanes]
    running = [None] * len(lanes)
    current = [0] * len(lanes)
    try:
        while any(c < len(lane) for c, lane in zip(current, lanes)):
            for k, lane in enumerate(lanes):
                if current[k] == len(lane):
                    continue
                began = time.time()
                if running[k] is None:
                    running[k] = subprocess.Popen(lane[current[k]])
                else:
                    running[k].send_signal(signal.SIGCONT)
                code = _wait(running[k], seconds[k])
                if code is None:
                    _stop(running[k])
                turns[k][current[k]].append((began, time.time()))
                if code:
                    raise subprocess.CalledProcessError(code, lane[current[k]])
                if code == 0:
                    running[k] = None
                    current[k] += 1
    finally:
        for process in running:
            if process is not None:
                process.kill()
                process.wait()
    return turns


def _wait(process, seconds):
    """Waits for the end of a program, `seconds` at most; its code, or None."""
    end = time.time() + seconds
    while (code := process.poll()) is None and time.time() < end:
        time.sleep(LOOK)
    return code


def _stop(process):
    """Stops a program, and returns when it stands still or has ended."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def overlap(turns, began, ended):
    """Seconds between `began` and `ended` in which a program had its turn."""
    return sum(max(0.0, min(end, ended) - max(start, began)) for start, end in turns)
