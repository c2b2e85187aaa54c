"""Ctrl-C while a program still loads: it ends at once and quietly, not with a traceback through somebody's import."""

import signal
import sys
from pathlib import Path

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended, as shells have it."""


def end_quietly_while_loading(*programs: str) -> None:
    """Leave Ctrl-C to the kernel until ``listen``, in a process that runs one of these programs or modules.

    Nothing changes in another process that only imports what they import, such as a test or a notebook.
    """
    run = {Path(word).name for word in sys.orig_argv[1:3]}
    if run & set(programs) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def listen() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def was_interrupted(error: BaseException | None) -> bool:
    """Tell whether Ctrl-C is behind an error: compiled modules turn it into an ImportError of theirs."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
