"""Which files are stores, and how one is created: private, on a disk of this machine, through no symbolic link."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from toolweaver_monitor._store.lock_file import NOFOLLOW
from toolweaver_monitor._store.schema import APPLICATION_ID
from toolweaver_monitor._text.display import escape
from toolweaver_monitor.errors import SinkUnavailable

REMOTE = {
    "nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs",
    "fuse.sshfs", "fuse.s3fs", "fuse.goofys", "fuse.gcsfuse", "fuse.rclone", "fuse.glusterfs", "fuse.ceph-fuse",
    "fuse.mount-s3", "fuse.blobfuse", "fuse.blobfuse2", "fuse.juicefs", "fuse.davfs2",
}  # fmt: skip
"""File systems, as `/proc/mounts` names them, whose locks or shared memory do not reach other machines."""
MOUNTS = Path("/proc/self/mounts")
MALFORMED = -1
"""Stands for the application id of a database that SQLite cannot read: one that was cut off, for example."""
OWN_FILE = "give a path at which there is no file yet, such as SQLiteStore('runs.db'); this file was not touched"


def lock_path(path: Path) -> Path:
    """Return the path of a store's lock file."""
    return path.with_name(path.name + ".lock")


def damage_note(path: Path) -> Path:
    """Return the path of the empty file by which a reader tells writers that a store is damaged."""
    return path.with_name(path.name + ".damaged")


def first_aside(path: Path) -> Path:
    """Return the path to which the first damaged store of a name is renamed."""
    return path.with_name(path.name + ".corrupt-1")


def uri(path: Path, **parameters: str) -> str:
    """Return a path as a URI that SQLite opens."""
    return f"file:{quote(str(path.absolute()))}?" + "&".join(f"{name}={value}" for name, value in parameters.items())


def show(path: Path) -> str:
    """Return a path as safe text."""
    return escape(str(path))


def application_id(path: Path) -> int | None:
    """Return the application id in a database's header; None if the file is no database, `MALFORMED` if it is damaged.

    The file is read by SQLite, since closing a descriptor of it drops the locks that this process has on it. Opened as
    immutable it gets no other file beside it and is not changed.
    """
    try:
        connection = sqlite3.connect(uri(path, mode="ro", immutable="1"), uri=True)
        try:
            found: int = connection.execute("PRAGMA application_id").fetchone()[0]
            connection.execute("PRAGMA schema_version")  # reads the header, and finds out whether it is one
        finally:
            connection.close()
    except sqlite3.Error as error:
        return MALFORMED if error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT else None
    return found


def check_is_store(path: Path) -> bool:
    """Return True if there is a store at a path, and False if there is nothing.

    Raises:
        SinkUnavailable: there is something else, or it cannot be reached. It was not touched.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SinkUnavailable(f"{show(path)} cannot be reached ({error.strerror})", hint="check its folder") from None
    if stat.S_ISLNK(found.st_mode):
        raise SinkUnavailable(f"{show(path)} is a symbolic link", hint="give the path of the store itself")
    if not stat.S_ISREG(found.st_mode):
        raise SinkUnavailable(f"{show(path)} is no file", hint="give the path of a file, such as 'runs.db'")
    if lock_path(path).exists() or (found_id := application_id(path)) == APPLICATION_ID:
        return True
    if not os.access(path, os.R_OK):
        raise SinkUnavailable(f"{show(path)} cannot be read", hint="ask its owner, or give another path")
    if found_id == MALFORMED:
        hint = (
            f"if it was a store, make an empty file {show(lock_path(path))}; the next program that writes to it then "
        )
        raise SinkUnavailable(f"{show(path)} is a damaged database", hint=hint + "keeps what can be read")
    what = "is empty" if not found.st_size else "is not a store of toolweaver_monitor"
    raise SinkUnavailable(f"{show(path)} {what}", hint=OWN_FILE)


def check_disk(path: Path) -> None:
    """Check that a path is on a disk of this machine.

    Raises:
        SinkUnavailable: it is on a network or bucket mount.
    """
    kind = file_system(path)
    if kind in REMOTE:
        raise SinkUnavailable(
            f"{show(path)} is on a network mount ({kind}), where SQLite loses data",
            hint="give each machine a file on a disk of its own; the commands take several files and show them as one",
        )


def file_system(path: Path) -> str:
    """Return the name of the file system that a path is on; empty if that is unknown."""
    try:
        mounts = MOUNTS.read_text(errors="replace").splitlines()
        where = Path(os.path.realpath(path))
    except OSError:  # no Linux
        return ""
    best, kind = -1, ""
    for line in mounts:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if (point == where or point in where.parents) and len(str(point)) >= best:
            best, kind = len(str(point)), fields[2]
    return kind


def inode(path: Path | int) -> tuple[int, int] | None:
    """Return what tells a file, or an open one, from another of the same name; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - of a descriptor, too
    except OSError:
        return None
    return found.st_dev, found.st_ino


def create_file(path: Path) -> None:
    """Create an empty file that only its owner can read.

    Raises:
        OSError: the file cannot be created, or is there already.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o600))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read. A reader gets all of it, old or new. Hold its lock.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    made = path.with_name(f"{path.name}.new")
    made.unlink(missing_ok=True)  # of a process that died here
    create_file(made)
    made.write_bytes(data)
    made.replace(path)


def put_in_place(made: Path, path: Path) -> None:
    """Give a file its name, without replacing another.

    Raises:
        OSError: there is a file of that name.
    """
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except (OSError, AttributeError):  # a disk without links
        made.rename(path)
    else:
        made.unlink()


def create_folder(path: Path) -> None:
    """Create the folder of a store, and those around it, for its owner only; those that are there stay as they are."""
    missing = []
    folder = path.absolute().parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
