"""Read tarballs as one stream of members, plain or packed, without unpacking anything to disk."""

from __future__ import annotations

import io
import queue
import tarfile
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import IO, BinaryIO, Self, cast

from pulsar_arm.errors import InputError
from pulsar_arm.formats.archive import Content, Guarded, Kind, Member, clean
from pulsar_arm.formats.packed import UNPACK_DAMAGE, unpacked

_AHEAD = 4
"""Pieces of a few MiB that wait to be read."""
_DAMAGE: tuple[type[Exception], ...] = (tarfile.TarError, *UNPACK_DAMAGE, ValueError, OverflowError)
_UNREADABLE: tuple[type[Exception], ...] = (OSError, *_DAMAGE)
_LARGEST_HEADER = 1 << 20
"""Bytes of a long name or of pax records before a member: more is no name, but fills the memory."""
_LARGEST_TAIL = 1 << 30
"""Bytes behind the end of an archive, which are padding."""
_HEADER_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LATEST = 1 << 40
"""Seconds since 1970 that every file system and tar can write; damaged headers hold more."""


def read_tar(path: Path, advance: Callable[[int], None] | None = None) -> Generator[Content]:
    """Every member of a tarball in its order, a file with its content (to be read before the next).

    It may be packed by gzip, xz or zstd, told by its first bytes and unpacked in a thread of its own, which
    leaves the reader a second processor. `advance` is told the bytes of the file that were read. InputError
    where the archive is damaged or ends early; the members before that have been given.
    """
    with closing(_Ahead(path, advance)) as stream:
        try:
            tar = tarfile.TarFile(fileobj=cast("BinaryIO", stream), tarinfo=_StrictTarInfo)
            empty = True
            while info := tar.next():
                empty = False
                content = Guarded(_content(tar, info, stream), path, _DAMAGE) if info.isreg() else None
                yield _member(info), cast("IO[bytes] | None", content)
                tar.members.clear()  # type: ignore[attr-defined] # nothing goes back, yet tarfile would keep them
            stream.drain()
            if empty:
                raise InputError(f"{path} is an empty tar archive.")
        except _DAMAGE as error:
            raise InputError(
                f"{path} is damaged or cut off: {str(error) or type(error).__name__}."
            ) from error


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo, stream: _Ahead) -> IO[bytes]:
    if info.issparse():
        return cast("IO[bytes]", tar.extractfile(info))
    return cast("IO[bytes]", _Part(stream, info.offset_data, info.size))


class _Part:
    """One member's content; tarfile's own goes through two more buffers."""

    def __init__(self, stream: _Ahead, start: int, size: int) -> None:
        self._stream, self._at, self._left = stream, start, size

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        if self._at != self._stream.tell():
            self._stream.seek(self._at)
        wanted = self._left if size < 0 else min(size, self._left)
        piece = self._stream.read(wanted)
        if len(piece) < wanted:
            raise tarfile.ReadError("unexpected end of data")
        self._at += wanted
        self._left -= wanted
        return piece


class _StrictTarInfo(tarfile.TarInfo):
    """A header that must be one: tarfile takes a damaged header, and the lack of any, for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read one block; TarError unless it is a member or the block of zeros that ends an archive."""
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf and not any(buf):
                raise
            raise tarfile.ReadError(str(error)) from error
        if info.type in _HEADER_TYPES and info.size > _LARGEST_HEADER:
            raise tarfile.ReadError("a name or its records are longer than any real one")
        return info


class _Ahead:
    """The unpacked bytes of a file, made ahead in a thread; it can be moved forward only.

    Large pieces at once: between two of them the thread has to wait for Python's lock, up to 5 ms each time
    while jars are being parsed.
    """

    def __init__(self, path: Path, advance: Callable[[int], None] | None) -> None:
        self._path = path
        self._rest = memoryview(b"")
        self._at = 0
        self._over = False
        self._pieces: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(path, advance), daemon=True)
        self._thread.start()

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        if position < self._at:
            raise tarfile.StreamError("its members are read out of their order")
        while self._at < position and self._more():
            self._take(position - self._at)
        return self._at

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than `size` only at the end."""
        if size <= len(self._rest):
            return bytes(self._take(size))
        whole = io.BytesIO()
        while whole.tell() < size and self._more():
            whole.write(self._take(size - whole.tell()))
        return whole.getvalue()

    def drain(self) -> None:
        """Read to the end, so that a damaged tail and its checksum are seen."""
        tail = 0
        while self._more():
            tail += len(self._take(len(self._rest)))
            if tail > _LARGEST_TAIL:
                raise tarfile.ReadError(f"more than {_LARGEST_TAIL >> 20} MiB follow its end")

    def close(self) -> None:
        """Stop the thread; a content that is still held ends here, for nobody fills the queue any more."""
        self._stop.set()
        self._over, self._rest = True, memoryview(b"")
        while self._thread.is_alive():
            try:
                self._pieces.get(timeout=0.05)
            except queue.Empty:
                continue

    def _take(self, size: int) -> memoryview:
        piece, self._rest = self._rest[:size], self._rest[size:]
        self._at += len(piece)
        return piece

    def _more(self) -> bool:
        """Whether bytes are left; at the end none, however often tarfile asks."""
        if not self._rest and not self._over:
            piece = self._pieces.get()
            if isinstance(piece, Exception):
                self._over = True
                if isinstance(piece, OSError):
                    raise InputError(f"{self._path} cannot be read: {piece.strerror or piece}.") from piece
                raise piece
            self._over = not piece
            self._rest = memoryview(piece)
        return bool(self._rest)

    def _fill(self, path: Path, advance: Callable[[int], None] | None) -> None:
        try:
            with path.open("rb") as raw:
                for piece in unpacked(raw, advance or (lambda _count: None)):
                    self._pieces.put(piece)
                    if self._stop.is_set():
                        return
        except _UNREADABLE as error:
            self._pieces.put(error)
        finally:
            self._pieces.put(b"")  # or the reader would wait for ever


def _member(info: tarfile.TarInfo) -> Member:
    if not -_LATEST < info.mtime < _LATEST:
        raise tarfile.ReadError(f"{info.name} has a time that cannot be")
    kinds: tuple[tuple[bool, Kind], ...] = (
        (info.isreg(), "file"),
        (info.isdir(), "dir"),
        (info.issym(), "symlink"),
        (info.islnk(), "hardlink"),
    )
    return Member(
        path=clean(info.name),
        kind=next((kind for is_it, kind in kinds if is_it), "special"),
        mode=info.mode & 0o7777,
        size=info.size,
        mtime=int(info.mtime),
        link=clean(info.linkname) if info.islnk() else info.linkname,
        uid=info.uid,
        gid=info.gid,
        uname=info.uname,
        gname=info.gname,
    )
