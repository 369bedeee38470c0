"""Read and write what distributions come as: tarballs (plain or gzip) and folders, as one stream of members.

Nothing is unpacked: a member's content is given once, in the order of the archive. What would be
unsafe to unpack (an escaping path, a device) is told by `unsafe`, and left to the caller to judge.
"""

from __future__ import annotations

import os
import queue
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, Self, cast

from zlib_ng import gzip_ng, zlib_ng

from pulsar_arm.errors import InputError

Kind = Literal["file", "dir", "symlink", "hardlink", "special"]
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNK = 2 << 20
_MOST = 16 << 20
"""Bytes inflated at once, so that a bomb fills no memory."""
_GZIP_WINDOW = 31
"""zlib's wbits for gzip with its header and trailer."""
# tarfile copies what is left of its buffer for every header, so it is given small pieces of a chunk.
_PIECE = 128 << 10
_GZIP_LEVEL = 1
# What the readers raise on bytes that are damaged.
_DAMAGE: tuple[type[Exception], ...] = (
    tarfile.TarError,
    cast("type[Exception]", zlib_ng.error),
    EOFError,
    ValueError,
    OverflowError,
)
_UNREADABLE: tuple[type[Exception], ...] = (OSError, *_DAMAGE)
_LARGEST_HEADER = 1 << 20
"""Bytes of a long name or of pax records before a member: more is no name, but fills the memory."""
_HEADER_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_LATEST = 1 << 40
"""Seconds since 1970 that every file system and tar can write; damaged headers hold more."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tarball or folder."""

    path: str
    """As written, without a leading `./`; a folder's has no trailing slash."""
    kind: Kind
    mode: int
    """Permission bits."""
    size: int = 0
    mtime: int = 0
    """Seconds since 1970."""
    link: str = ""
    """A symbolic link's target as written, or the path of the member a hard link repeats."""
    uid: int = 0
    gid: int = 0
    uname: str = ""
    gname: str = ""


Content = tuple[Member, IO[bytes] | None]


def unsafe(member: Member) -> str | None:
    """Why this member must not be unpacked, or None when it may be."""
    if member.kind == "special":
        return "it is a device, fifo or socket"
    if _escapes(member.path):
        return "its path leads outside the archive"
    if member.kind == "hardlink" and _escapes(member.link):
        return f"it is a hard link to {member.link}, outside the archive"
    if member.kind == "symlink" and _leads_out(member):
        return f"it is a symbolic link to {member.link}, outside the archive"
    return None


def _leads_out(link: Member) -> bool:
    """Whether a link's target may lie outside; `..` behind a name counts, as that name may be a link too."""
    parts = [part for part in link.link.split("/") if part not in ("", ".")]
    ups = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    return link.link.startswith("/") or ".." in parts[ups:] or ups > link.path.count("/")


def _escapes(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def read_tar(path: Path, advance: Callable[[int], None] | None = None) -> Iterator[Content]:
    """Every member of a tarball in its order, a file with its content (to be read before the next).

    gzip is found by its magic bytes and inflated in a thread of its own, which leaves the reader a
    second processor. `advance` is told the compressed bytes read. InputError where the archive is
    damaged or ends early; the members before that have been given.
    """
    with closing(_Prefetch(path, advance)) as stream:
        try:
            with tarfile.open(
                fileobj=cast("BinaryIO", stream), mode="r|", bufsize=_PIECE, tarinfo=_StrictTarInfo
            ) as tar:
                empty = True
                for info in tar:
                    empty = False
                    content = tar.extractfile(info) if info.isreg() else None
                    yield _member(info), cast("IO[bytes]", _Guarded(content, path)) if content else None
                    vars(tar)["members"].clear()  # a stream never goes back, yet tarfile would keep them
            stream.drain()
            if empty:
                raise InputError(f"{path} is an empty tar archive.")
        except _DAMAGE as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged or cut off: {str(error) or type(error).__name__}.")


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


def read_directory(top: Path) -> Iterator[Content]:
    """Every member of a folder, each folder's sorted by name; a file is open while it is the one yielded.

    Links are told, never followed. InputError where a folder or file cannot be read.
    """
    try:
        for folder, names, files in os.walk(top, onerror=_raise):
            names.sort()
            links = [name for name in names if (Path(folder) / name).is_symlink()]
            for name in sorted([*files, *names]):
                path = Path(folder) / name
                member = _from_stat(path, path.relative_to(top).as_posix())
                if member.kind == "file":
                    with path.open("rb") as content:
                        yield member, cast("IO[bytes]", _Guarded(content, path))
                else:
                    yield member, None
            names[:] = [name for name in names if name not in links]
    except OSError as error:
        raise InputError(f"{error.filename or top} cannot be read: {error.strerror}.") from error


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def write_tar(path: Path) -> Iterator[Callable[[Member, IO[bytes] | None], None]]:
    """A tarball being written: call what is yielded with each member; gzip by the suffix `gz`.

    The bytes depend on the members alone: no time, name or host of the writing is kept.
    """
    with path.open("wb") as raw:
        plain = not path.name.endswith(("gz", "gz.part"))
        stream: IO[bytes] = raw if plain else _gzip_writer(raw)
        with stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            yield lambda member, content: tar.addfile(_tar_info(member), content)


def _gzip_writer(raw: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip_ng.GzipNGFile("", "wb", _GZIP_LEVEL, raw, mtime=0))  # type: ignore[no-untyped-call]


class _Guarded:
    """A member's content, whose damage is told like the archive's own."""

    def __init__(self, content: IO[bytes], path: Path) -> None:
        self._content = content
        self._path = path

    def read(self, size: int = -1) -> bytes:
        try:
            return self._content.read(size)
        except _DAMAGE as error:
            raise _damaged(self._path, error) from error
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error.strerror}.") from error


class _Prefetch:
    """The plain bytes of a file, read (and inflated) ahead in a thread."""

    def __init__(self, path: Path, advance: Callable[[int], None] | None) -> None:
        self._path = path
        self._rest = memoryview(b"")
        self._over = False
        self._chunks: queue.Queue[bytes | Exception] = queue.Queue(maxsize=8)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(path, advance), daemon=True)
        self._thread.start()

    def read(self, size: int = -1) -> memoryview:
        """The next bytes, `size` at most; at the end none, however often tarfile asks."""
        if not self._rest and not self._over:
            chunk = self._chunks.get()
            if isinstance(chunk, Exception):
                self._over = True
                if isinstance(chunk, _DAMAGE):
                    raise _damaged(self._path, chunk) from chunk
                raise InputError(f"{self._path} cannot be read: {chunk}.") from chunk
            self._over = not chunk
            self._rest = memoryview(chunk)
        piece = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(piece) :]
        return piece

    def drain(self) -> None:
        """Read to the end, so that a damaged tail and its checksum are seen."""
        while self.read():
            pass

    def close(self) -> None:
        """Stop the thread; a content that is still held ends here, for nobody fills the queue any more."""
        self._stop.set()
        self._over, self._rest = True, memoryview(b"")
        while self._thread.is_alive():
            try:
                self._chunks.get(timeout=0.05)
            except queue.Empty:
                continue

    def _fill(self, path: Path, advance: Callable[[int], None] | None) -> None:
        try:
            with path.open("rb") as raw:
                zipped = raw.read(2) == GZIP_MAGIC
                raw.seek(0)
                for chunk in (_inflated if zipped else _pieces)(raw, advance or (lambda _count: None)):
                    self._chunks.put(chunk)
                    if self._stop.is_set():
                        return
        except _UNREADABLE as error:
            self._chunks.put(error)
        finally:
            self._chunks.put(b"")  # or the reader would wait for ever


def _pieces(raw: IO[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    while chunk := raw.read(_CHUNK):
        advance(len(chunk))
        yield chunk


def _inflated(raw: IO[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    """The content of one or more gzip members (RFC 1952), their checksums tested.

    Large pieces at once: between two of them the thread has to wait for Python's lock, 5 ms each time
    while jars are being parsed, which `gzip.open` with its small reads does a thousand times.
    """
    member = zlib_ng.decompressobj(_GZIP_WINDOW)
    for chunk in _pieces(raw, advance):
        while chunk:
            if member.eof:
                member = zlib_ng.decompressobj(_GZIP_WINDOW)
            if piece := member.decompress(chunk, _MOST):
                yield piece
            chunk = member.unused_data if member.eof else member.unconsumed_tail
    while not member.eof:
        rest = member.decompress(b"", _MOST)
        if not rest:
            raise EOFError("the gzip stream ends early")
        yield rest


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
        path=_clean(info.name),
        kind=next((kind for is_it, kind in kinds if is_it), "special"),
        mode=info.mode & 0o7777,
        size=info.size,
        mtime=int(info.mtime),
        link=_clean(info.linkname) if info.islnk() else info.linkname,
        uid=info.uid,
        gid=info.gid,
        uname=info.uname,
        gname=info.gname,
    )


def _clean(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name.rstrip("/") or "."


def _from_stat(path: Path, name: str) -> Member:
    status = path.lstat()
    kinds: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "special")
    link = path.readlink().as_posix() if kind == "symlink" else ""
    size = status.st_size if kind == "file" else 0
    return Member(name, kind, stat.S_IMODE(status.st_mode), size, int(status.st_mtime), link)


_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
}


def _tar_info(member: Member) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member.path)
    info.type = _TYPES[member.kind]
    info.mode, info.size, info.mtime = member.mode, member.size, member.mtime
    info.linkname, info.uid, info.gid = member.link, member.uid, member.gid
    info.uname, info.gname = member.uname, member.gname
    return info
