"""What a run leaves behind and says when it cannot go on."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from d2ppo_core.errors import TrainingError
from d2ppo_core.pretrain.batches import Batch

BAD_BATCH = "bad_batch.pt"
_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "Storage size calculation overflowed")


def write_atomically(payload: dict[str, Any], path: Path) -> None:
    """Write what torch.save makes of `payload` by replacing the file: a crash leaves the old one or the new one.

    Raises OSError when the disk is full or not writable; the old file stays.
    """
    buffer = io.BytesIO()
    torch.save(payload, buffer)  # its own file writer reports a full disk as an internal error of torch
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def reason(error: OSError) -> str:
    """Why the operating system refused."""
    return os.strerror(error.errno) if error.errno else str(error)


def save_bad_batch(batch: Batch, step: int, folder: Path) -> str:
    """Write the batch of optimiser step `step` (from 1) for a look at it; returns where it is, or why it is not."""
    path = folder / BAD_BATCH
    try:
        write_atomically({"step": step, **asdict(batch)}, path)
    except OSError as error:
        return f"its batch could not be saved ({reason(error)})"
    return f"its batch is in {path}"


@contextmanager
def explaining_memory(what: str, advice: str) -> Iterator[None]:
    """Turn running out of memory, of the CPU or the GPU, into one line: what happened, and what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not any(sign in text for sign in _OUT_OF_MEMORY):
            raise
        raise TrainingError(f"out of memory {what} ({text[:160]}); {advice}") from error
