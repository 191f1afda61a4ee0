"""One worker's file: what it has counted so far, and a lock that is held for as long as the worker lives.

The file is written in place, since a new file would need a new lock. What is written never covers what is valid: it
goes before or behind it, and then the header points to it. So a worker that is killed while it writes leaves what it
wrote before, and so does a full disk.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path

from toolweaver_monitor._store import lock_file
from toolweaver_monitor._store.files import inode

MAGIC = b"TWMtally"
TALLY_VERSION = 1
_PREAMBLE = struct.Struct("<8sHQQI")
"""Magic, version, the place of the payload, its length and its checksum; a checksum of all these follows."""
_CHECKSUM = struct.Struct("<I")
HEAD_BYTES = _PREAMBLE.size + _CHECKSUM.size
READ_TRIES = 20
"""How often a file that was written to meanwhile is read again."""
READ_AGAIN_S = 0.001


class UnreadableFile(OSError):
    """The file is damaged."""


class OtherVersion(UnreadableFile):
    """The file is of a version of this library that this one does not know."""


class WorkerFile:
    """The file of this worker. A forked child closes it and needs a file of its own.

    Args:
        path: where it is made; only its owner can read it.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | lock_file.NOFOLLOW, 0o600)
        self._at, self._length = HEAD_BYTES, 0
        lock_file.hold(self._descriptor)

    @property
    def is_there(self) -> bool:
        """Whether the file is still where it was made."""
        return inode(self.path) == inode(self._descriptor)

    def write(self, payload: bytes) -> None:
        """Replace what the file holds.

        Raises:
            OSError: it cannot be written; it holds what it held before.
        """
        fits_before = HEAD_BYTES + len(payload) <= self._at
        at = HEAD_BYTES if fits_before and self._length else self._at + self._length
        _write_all(self._descriptor, payload, at)
        header = _PREAMBLE.pack(MAGIC, TALLY_VERSION, at, len(payload), zlib.crc32(payload))
        _write_all(self._descriptor, header + _CHECKSUM.pack(zlib.crc32(header)), 0)
        self._at, self._length = at, len(payload)

    def release(self) -> None:
        """Let the lock go. The file stays, as that of a worker that is gone."""
        lock_file.release(self._descriptor)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written


def read_payload(descriptor: int) -> bytes:
    """Return what an open worker file holds; nothing if it was never written.

    Raises:
        UnreadableFile: it is damaged, or as `OtherVersion` of another version.
        OSError: it cannot be read.
    """
    for _ in range(READ_TRIES):
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if not head:
            return b""
        if len(head) == HEAD_BYTES and _CHECKSUM.unpack(head[_PREAMBLE.size :])[0] == zlib.crc32(
            head[: _PREAMBLE.size]
        ):
            magic, version, at, length, checksum = _PREAMBLE.unpack(head[: _PREAMBLE.size])
            if magic != MAGIC or version != TALLY_VERSION:
                raise OtherVersion
            payload = os.pread(descriptor, length, at)
            if zlib.crc32(payload) == checksum and len(payload) == length:
                return payload
        time.sleep(READ_AGAIN_S)  # its worker has written meanwhile
    raise UnreadableFile
