"""One episode's MCAP file: hidden behind `.partial` until it is complete and on the disk."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Channel as ChannelRecord
from mcap.records import Message as MessageRecord
from mcap.records import Schema as SchemaRecord
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from d2ppo_core.errors import RecordingError
from d2ppo_core.runtime.recording.definitions import definition
from d2ppo_core.runtime.recording.raw import Channel, RawMessage

PARTIAL = ".partial"
_CHUNK_BYTES = 2**22
_SYNC_BYTES = 2**26
"""So much may be lost of a running episode when the machine loses its power."""

_DAMAGED = (McapError, EOFError, RuntimeError, ValueError, struct.error)
"""What the libraries raise where a file breaks off, or is no MCAP file at all."""
_BROKEN = (OSError, *_DAMAGED)


class McapFile:
    """Writes messages; after `finish` the file stands under its name, before that only as `.partial`."""

    def __init__(self, path: Path) -> None:
        """Begin a file.

        Raises:
            OSError: It cannot be made.
        """
        self.path, self._partial = path, path.with_name(path.name + PARTIAL)
        self._stream = self._partial.open("xb")
        self._writer = Writer(self._stream, chunk_size=_CHUNK_BYTES, compression=CompressionType.LZ4)
        self._writer.start(profile="ros2", library="d2ppo")
        self._ids: dict[Channel, int] = {}
        self._schemas: dict[str, int] = {}
        self._sequences: dict[int, int] = {}
        self._synced_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Written so far, without what is still being gathered."""
        return self._stream.tell()

    def write(self, message: RawMessage, text: str | None = None) -> None:
        """Append a message; `text` is the definition of its type where that is not installed here.

        Raises:
            OSError: The disk refused.
        """
        number = self._ids.get(message.channel)
        if number is None:
            number = self._ids[message.channel] = self._register(message.channel, text)
        self._sequences[number] = sequence = self._sequences.get(number, -1) + 1
        self._writer.add_message(
            number, log_time=message.received_ns, data=message.data, publish_time=message.stamp_ns, sequence=sequence
        )
        if self.size_bytes - self._synced_bytes > _SYNC_BYTES:
            self._sync()

    def _register(self, channel: Channel, text: str | None) -> int:
        if channel.datatype not in self._schemas:
            data = (text or definition(channel.datatype)).encode()
            self._schemas[channel.datatype] = self._writer.register_schema(channel.datatype, "ros2msg", data)
        return self._writer.register_channel(channel.topic, "cdr", self._schemas[channel.datatype])

    def finish(self) -> None:
        """Complete the file, bring it to the disk and give it its name.

        Raises:
            OSError: The disk refused; the file stays a `.partial`.
        """
        self._writer.finish()
        self._sync()
        self._stream.close()
        self._partial.rename(self.path)
        sync_folder(self.path.parent)

    def abandon(self) -> None:
        """Leave what there is as a `.partial`."""
        with suppress(OSError):
            self._stream.close()

    def _sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._synced_bytes = self.size_bytes


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def messages_in(path: Path) -> Iterator[RawMessage]:
    """Messages of a complete file, in the order in which they were received.

    Raises:
        RecordingError: It is missing, damaged or no MCAP file.
    """
    try:
        with path.open("rb") as stream:
            for schema, channel, message in make_reader(stream).iter_messages(log_time_order=False):
                origin = Channel(channel.topic, schema.name if schema else "")
                yield RawMessage(origin, message.data, message.log_time, message.publish_time)
    except _BROKEN as error:
        raise RecordingError(f"{path} cannot be read: {str(error) or type(error).__name__}") from error


def definitions_in(path: Path) -> dict[str, str]:
    """Definition of each type in a file, complete or not, as it was when it was recorded."""
    return {record.name: record.data.decode() for record in _records(path) if isinstance(record, SchemaRecord)}


def salvage(path: Path) -> int:
    """Make a complete file of a `.partial`, of all chunks that are whole; return the number of messages.

    The partial file stays until the complete one is on the disk.

    Raises:
        RecordingError: Nothing in it can be read.
        OSError: The complete one cannot be written.
    """
    complete = path.with_name(path.name.removesuffix(PARTIAL))
    spare = complete.with_name(f"{complete.name}.salvaged")
    spare.with_name(spare.name + PARTIAL).unlink(missing_ok=True)
    file, count = McapFile(spare), 0
    schemas: dict[int, SchemaRecord] = {}
    channels: dict[int, ChannelRecord] = {}
    try:
        for record in _records(path):
            if isinstance(record, SchemaRecord):
                schemas[record.id] = record
            elif isinstance(record, ChannelRecord):
                channels[record.id] = record
            elif isinstance(record, MessageRecord):
                channel = channels[record.channel_id]
                schema = schemas[channel.schema_id]
                origin = Channel(channel.topic, schema.name)
                message = RawMessage(origin, record.data, record.log_time, record.publish_time)
                file.write(message, schema.data.decode())
                count += 1
        if not count:
            raise RecordingError(f"{path} holds no whole chunk: nothing of it can be saved")
        file.finish()
    except BaseException:
        file.abandon()
        spare.with_name(spare.name + PARTIAL).unlink(missing_ok=True)
        raise
    spare.rename(complete)
    path.unlink()
    sync_folder(complete.parent)
    return count


def _records(path: Path) -> Iterator[object]:
    """Records up to where the file breaks off."""
    try:
        with path.open("rb") as stream:
            with suppress(*_DAMAGED):
                yield from StreamReader(stream).records
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
