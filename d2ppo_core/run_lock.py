"""One process at a time per run folder: two trainings that write into one folder would leave one, and say two."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from d2ppo_core.closing import Closing
from d2ppo_core.errors import TrainingError

FILE_NAME = "run.lock"
"""In the folder; the operating system frees it with the process that holds it, however that ends."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What file systems without locks answer; there a run is not guarded."""
_WRITTEN = ("config.yaml", "started.yaml", "metrics.csv", "tensorboard", "bad_batch.pt")
"""What a run writes besides its checkpoint."""


class RunLock(Closing):
    """Holds a run's folder until it is closed; a folder that it made and nobody filled goes again."""

    def __init__(self, folder: Path, file_name: str = FILE_NAME) -> None:
        """Make the folder and lock it.

        Raises:
            TrainingError: another process holds it.
            OSError: it cannot be made or written.
        """
        self._path, self._made = folder / file_name, not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _locked(self._path)

    def close(self) -> None:
        """Give it back; a second call does nothing."""
        folder = self._path.parent
        if not self._file.closed and self._made and os.listdir(folder) == [self._path.name]:
            self._path.unlink()
            folder.rmdir()
        self._file.close()


def refuse_strangers(folder: Path) -> None:
    """Raise TrainingError where a new run would write over files that no run left."""
    if (folder / FILE_NAME).exists() or (folder / "metrics.csv").exists() and (folder / "tensorboard").is_dir():
        return  # a run that was stopped before its first checkpoint
    if found := [name for name in _WRITTEN if (folder / name).exists()]:
        raise TrainingError(f"{folder} holds {', '.join(found)} of somebody's, not of a run; choose another --out")


def _locked(path: Path) -> IO[str]:
    """Open and lock a file, and say in it who has it."""
    while True:
        file = path.open("a+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            file.close()
            raise TrainingError(
                f"{path.parent} is in use by {holder}; wait until that is done or choose another --out"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        if _is_at(file, path):
            break
        file.close()  # its holder removed it between our opening and our locking
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
