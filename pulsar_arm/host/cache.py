"""Files kept for the next run: whole or not there at all, and safe to share between processes.

Beside a kept FILE lie `FILE.sha256` (its digest and size), `FILE.part` while it is being brought, and
`FILE.lock` while someone works on it. Only a file whose size is the one its `.sha256` tells counts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pulsar_arm.errors import HostError
from pulsar_arm.host.progress import Progress

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_SIDECAR = re.compile(r"([0-9a-f]{64}) (\d+)\n")


@dataclass(frozen=True, slots=True)
class Stored:
    """A whole file of the cache."""

    path: Path
    sha256: str
    size: int
    """In bytes."""


def stored(path: Path, sha256: str | None = None) -> Stored | None:
    """The kept file at `path`, or None when there is none, it is not whole, or `sha256` says another one.

    A file that somebody copied here without its `.sha256` is hashed, and counts only if `sha256` says so.
    """
    try:
        size = path.stat().st_size
        told = _sidecar(path)
        if told is None:
            return Stored(path, sha256, size) if sha256 and hash_file(path) == sha256 else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostError(
            f"{path} cannot be read: {error.strerror}; choose another cache with --cache."
        ) from error
    digest, length = told
    return Stored(path, digest, size) if length == size and sha256 in (None, digest) else None


def keep(part: Path, path: Path, sha256: str) -> Stored:
    """Make the whole and checked file `part` the kept one at `path`: atomic, also against a loss of power.

    The old `.sha256` goes first and the new one comes last, so no moment pairs a file with a wrong digest.
    """
    with part.open("rb") as whole:
        os.fsync(whole.fileno())
        size = os.fstat(whole.fileno()).st_size
    _beside(path).unlink(missing_ok=True)
    part.replace(path)
    write_whole(_beside(path), f"{sha256} {size}\n".encode())
    return Stored(path, sha256, size)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees all of it or none."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


@contextmanager
def exclusive(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of `path` against other threads and processes; folders above it are made.

    Says by a note when it has to wait. What the file system refuses inside becomes a HostError.
    """
    with _in_words(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.note(f"Another process is fetching {path.name}; waiting for it.")
            lock.acquire(poll_interval=0.1)
        try:
            yield
        finally:
            lock.release()


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hex; OSError as open() and read() have it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into the sentence that tells what to do about it."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            message = f"No space is left for {path}: free some, or choose another place with --cache."
        else:
            reason = error.strerror or str(error)
            message = f"{path} cannot be written: {reason}; choose another cache with --cache."
        raise HostError(message) from error


def _sidecar(path: Path) -> tuple[str, int] | None:
    """Digest and size of the file when it was kept, None when nobody wrote them down."""
    try:
        told = _SIDECAR.fullmatch(_beside(path).read_text(encoding="ascii", errors="replace"))
    except FileNotFoundError:
        return None
    return (told[1], int(told[2])) if told else None


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
