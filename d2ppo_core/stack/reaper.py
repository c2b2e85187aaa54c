"""Kills what is left of a stack when its runner is gone; run as ``python -I -S reaper.py GRACE_S``.

The runner keeps the write end of this program's standard input open and sends the process group of each node, one
number a line; ``-`` before a number takes it back. When the runner ends, however it ends, the kernel closes the pipe.
The nodes have then got SIGTERM from the kernel; those that still run after the grace period get SIGKILL.
"""

import os
import signal
import sys
import time

POLL_S = 0.05


def alive(group: int) -> bool:
    """Return whether any process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the number belongs to somebody else by now
        return False
    return True


def main(grace_s: float) -> None:
    """Collect groups until the runner is gone, then see to it that they end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        if line.startswith("-"):
            groups.discard(int(line[1:]))
        else:
            groups.add(int(line))
    deadline_s = time.monotonic() + grace_s
    while any(alive(group) for group in groups) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    for group in filter(alive, groups):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]))
