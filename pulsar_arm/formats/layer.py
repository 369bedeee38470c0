"""Write image layers that are the same bytes on every machine: sorted, explicit parents, fixed times."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from pulsar_arm.errors import InputError
from pulsar_arm.formats.blob import LayerBlob
from pulsar_arm.formats.compress import BlobWriter

Kind = Literal["file", "dir", "symlink", "hardlink"]

_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
}
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One member of a layer tar."""

    path: str
    """Relative to the image's root, no leading slash: `pulsar/lib/x.jar`."""
    kind: Kind
    mode: int
    """Permission bits, 0o7777 at most."""
    uid: int = 0
    gid: int = 0
    link: str = ""
    """A symlink's target as written, or the `path` of a hard link's first name (same layer)."""
    source: Path | bytes | None = None
    """A file's content: where it lies, or the bytes."""


class _Writable(Protocol):
    def write(self, piece: bytes, /) -> object: ...


def write_layer(entries: Iterable[LayerEntry], stream: _Writable, mtime: int = 0) -> None:
    """Write `entries` as a plain tar in POSIX pax format (OCI image-spec, layer.md).

    Sorted by path, except that a hard link never stands before its first name; parent folders that
    are not given are root's, 0755; every time is `mtime` (seconds of the epoch), owners are numbers
    only. Content is streamed. InputError names an entry that cannot be: a path that leaves the
    root, one given twice with different meanings, a hard link to nothing, a file that cannot be read.
    """
    written = 0
    for entry in _arrange(entries):
        header = tarfile.TarInfo(entry.path)
        header.type, header.mode, header.mtime = _TYPES[entry.kind], entry.mode, mtime
        header.uid, header.gid, header.linkname = entry.uid, entry.gid, entry.link
        if entry.kind == "file":
            header.size = content_size(entry)
        head = header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        stream.write(head)
        written += len(head)
        if header.size:
            _write_content(entry, header.size, stream)
            padding = -header.size % tarfile.BLOCKSIZE
            stream.write(bytes(padding))
            written += header.size + padding
    end = 2 * tarfile.BLOCKSIZE
    stream.write(bytes(end + -(written + end) % tarfile.RECORDSIZE))


def write_layer_blob(
    entries: Iterable[LayerEntry],
    directory: Path,
    *,
    fast: bool = False,
    mtime: int = 0,
    advance: Callable[[int], None] | None = None,
) -> LayerBlob:
    """Write `entries` as a gzip layer into `directory`, named by its digest (see `BlobWriter`)."""
    with BlobWriter(directory, fast=fast, advance=advance) as blob:
        write_layer(entries, blob, mtime)
        return blob.close()


def link_duplicates(entries: Iterable[LayerEntry]) -> tuple[LayerEntry, ...]:
    """Make files of equal content, mode and owner hard links of the first of them by path.

    Give it the entries of one layer: a hard link cannot reach another. Only files whose sizes
    collide are read; empty ones are left alone.
    """
    given = tuple(entries)
    alike = defaultdict(list)
    for entry in given:
        if entry.kind == "file" and (size := content_size(entry)):
            alike[size, entry.mode, entry.uid, entry.gid].append(entry)
    candidates = sorted(
        (one for some in alike.values() if len(some) > 1 for one in some), key=lambda one: one.path
    )
    names: dict[tuple[bytes, int, int, int], str] = {}
    first: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for entry, content in zip(candidates, pool.map(_hash, candidates), strict=True):
            key = (content, entry.mode, entry.uid, entry.gid)
            first[entry.path] = names.setdefault(key, entry.path)
    return tuple(
        replace(entry, kind="hardlink", link=first[entry.path], source=None)
        if first.get(entry.path, entry.path) != entry.path
        else entry
        for entry in given
    )


def content_size(entry: LayerEntry) -> int:
    """Bytes of a file entry's content; InputError when it cannot be found."""
    if isinstance(entry.source, Path):
        try:
            return entry.source.stat().st_size
        except OSError as error:
            raise _unreadable(entry, error) from error
    return len(entry.source or b"")


def _arrange(entries: Iterable[LayerEntry]) -> list[LayerEntry]:
    members: dict[str, LayerEntry] = {}
    for entry in entries:
        if not entry.path or any(part in ("", ".", "..") for part in entry.path.split("/")):
            raise InputError(f"A layer cannot hold the path {entry.path!r}: give it relative to the root.")
        if members.setdefault(entry.path, entry) != entry:
            raise InputError(f"{entry.path} is given twice for one layer: keep one of the two.")
    for path in tuple(members):
        parent = path
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if members.setdefault(parent, LayerEntry(parent, "dir", 0o755)).kind != "dir":
                raise InputError(
                    f"{path} cannot be in a layer where {parent} is no folder: rename one of them."
                )
    # Engines give a hard link's mode and owner to the file, so they must be the first name's.
    alike = [_like_first(entry, members) if entry.kind == "hardlink" else entry for entry in members.values()]
    return sorted(alike, key=_order)


def _like_first(entry: LayerEntry, members: dict[str, LayerEntry]) -> LayerEntry:
    first = members.get(entry.link)
    if first is None or first.kind not in ("file", "symlink"):
        raise InputError(f"{entry.path} is a hard link to {entry.link}, which is no file of the same layer.")
    return replace(entry, mode=first.mode, uid=first.uid, gid=first.gid)


def _order(entry: LayerEntry) -> tuple[str, bool, str]:
    """By path; a hard link takes the place behind its first name when that sorts later."""
    late = entry.kind == "hardlink" and entry.link > entry.path
    return entry.link if late else entry.path, late, entry.path


def _write_content(entry: LayerEntry, size: int, stream: _Writable) -> None:
    if isinstance(entry.source, bytes):
        stream.write(entry.source)
        return
    left = size
    try:
        with Path(str(entry.source)).open("rb", buffering=0) as content:
            while piece := content.read(_PIECE):
                left -= len(piece)
                stream.write(piece)
    except OSError as error:
        raise _unreadable(entry, error) from error
    if left:
        raise InputError(f"{entry.source} changed while {entry.path} was being written: run again.")


def _hash(entry: LayerEntry) -> bytes:
    if isinstance(entry.source, bytes):
        return hashlib.sha256(entry.source).digest()
    try:
        with Path(str(entry.source)).open("rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except OSError as error:
        raise _unreadable(entry, error) from error


def _unreadable(entry: LayerEntry, error: OSError) -> InputError:
    return InputError(f"{entry.path}: its content {entry.source!s} cannot be read: {error.strerror}.")
