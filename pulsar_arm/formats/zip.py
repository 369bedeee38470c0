"""Read zip files and jars: what they hold, the head of an entry, or all of it.

Python's zipfile makes an object of every entry. Nine tenths of a release are classes that nobody asks for,
and their objects cost as much time as unpacking the release (measured on 2.6.0).
"""

from __future__ import annotations

import io
import stat
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from zlib_ng import zlib_ng

from pulsar_arm.errors import InputError
from pulsar_arm.formats.archive import Content, Kind, Member, clean

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
STORED, DEFLATED = 0, 8
_LONGEST_LINK = 4096
_PIECE = 1 << 20
_MOST = 4 << 20
# APPNOTE 4.3.12 (central directory), 4.3.7 (local header), 4.3.16 (end), 4.3.15 and 4.3.14 (zip64).
_ROW = struct.Struct("<8x2HI3I10x2I")
_LENGTHS = struct.Struct("<3H")
_LENGTHS_AT = 28
"""Where a row has the lengths of its name, extra field and comment."""
_LOCAL = struct.Struct("<4s22x2H")
_END = struct.Struct("<4s6xH2IH")
_LOCATOR = struct.Struct("<4s16x")
_END64 = struct.Struct("<4s28x3Q")
_LONGEST_END = _END.size + 0xFFFF
_FULL = 0xFFFFFFFF
"""Stands in the row of a field that is in the zip64 extra field instead (APPNOTE 4.5.3)."""
_LARGEST_DIRECTORY = 256 << 20
_UTF8, _ENCRYPTED = 0x800, 1

Read = Callable[[int, int], bytes]
"""Gives the bytes of a file from an offset, of a length; fewer at its end."""


class EntryError(InputError):
    """One entry cannot be read; the others may be sound."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a zip's central directory."""

    name: str
    flags: int
    method: int
    time: int
    """MS-DOS date and time, to two seconds; of no time zone."""
    crc: int
    packed: int
    """Bytes in the zip."""
    size: int
    """Bytes when unpacked, as the directory says."""
    mode: int
    """Of Unix, with the kind of file; 0 where the zip was made elsewhere."""
    offset: int
    """Of its local header."""

    @property
    def readable(self) -> bool:
        """Whether Java can unpack it: neither encrypted nor packed in another way than deflate."""
        return not self.flags & _ENCRYPTED and self.method in (STORED, DEFLATED)


class Zip:
    """A zip file; InputError where its structure is damaged."""

    def __init__(self, read: Read, length: int) -> None:
        """Find the central directory of a file of `length` bytes."""
        self._read, self._length = read, length
        self._directory, self._shift = self._find()
        self._unpacked = 0

    def entries(self, passing: str = "", but: Collection[str] = ()) -> Iterator[Entry]:
        """Every entry in the order of the directory; without those named `...passing`, except for `but`."""
        rows, at = self._directory, 0
        suffix, kept = passing.encode(), tuple(name.encode() for name in but)
        while at < len(rows):
            if at + _ROW.size > len(rows) or not rows.startswith(b"PK\x01\x02", at):
                raise _damaged("a row of its directory does not begin as one")
            named, extra, comment = _LENGTHS.unpack_from(rows, at + _LENGTHS_AT)
            row, begin, end = at, at + _ROW.size, at + _ROW.size + named
            at = end + extra + comment
            if at > len(rows):
                raise _damaged("its directory is cut off")
            # Without a slice of the name: this is done for every class of a release.
            if suffix and rows.endswith(suffix, begin, end) and rows[begin:end] not in kept:
                continue
            flags, method, time, crc, packed, size, mode, offset = _ROW.unpack_from(rows, row)
            if _FULL in (packed, size, offset):
                more = rows[end : end + extra]
                size, packed, offset = _zip64(more, size, packed, offset)
            shown = _decoded(rows[begin:end], flags)
            yield Entry(shown, flags, method, time, crc, packed, size, mode >> 16, offset + self._shift)

    def open(self, entry: Entry) -> IO[bytes]:
        """The content of an entry, to be read from its begin on; its checksum is tested at the end.

        No more is unpacked than the directory says. Reading raises InputError where it is damaged.
        """
        head = self._read(entry.offset, _LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
            raise _spoiled("no entry begins where the directory says")
        _magic, named, extra = _LOCAL.unpack(head)
        return cast("IO[bytes]", _Content(self._read, entry, entry.offset + _LOCAL.size + named + extra))

    def content(self, entry: Entry) -> bytes:
        """The whole content; InputError also when more is asked for than the zip can hold once."""
        # Entries that share their packed bytes are how a few MiB become petabytes.
        self._unpacked += entry.packed
        if self._unpacked > self._length:
            raise _spoiled("its entries overlap")
        return self.open(entry).read()

    def _find(self) -> tuple[bytes, int]:
        """The directory, and by how much it lies behind where it says (a program may stand before a zip)."""
        begin = max(0, self._length - _LONGEST_END)
        tail = self._read(begin, self._length - begin)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(tail):
            raise _damaged("it has no end record")
        _magic, _count, size, offset, _comment = _END.unpack_from(tail, at)
        end = begin + at
        if self._read(max(0, end - _LOCATOR.size), 4) == b"PK\x06\x07":
            end64 = end - _LOCATOR.size - _END64.size
            record = self._read(max(0, end64), _END64.size)
            if len(record) == _END64.size and record[:4] == b"PK\x06\x06":
                end = end64
                _magic, _count, size, offset = _END64.unpack(record)
        if size > _LARGEST_DIRECTORY:
            raise _damaged("its directory is longer than any real one")
        if size + offset > end:
            raise _damaged("its directory lies beyond its end")
        return self._read(end - size, size), end - size - offset


class _Content:
    """The content of an entry, unpacked as far as it is asked for."""

    def __init__(self, read: Read, entry: Entry, at: int) -> None:
        self._read, self._at = read, at
        self._packed, self._left = entry.packed, entry.size
        self._stream = zlib_ng.decompressobj(-15) if entry.method == DEFLATED else None
        self._tail = b""
        self._crc, self._wanted = 0, entry.crc

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        piece = self._piece(wanted)
        if len(piece) < wanted:
            whole = io.BytesIO()
            whole.write(piece)
            while whole.tell() < wanted:
                if not (piece := self._piece(wanted - whole.tell())):
                    raise _spoiled("it ends early")
                whole.write(piece)
            piece = whole.getvalue()
        self._left -= len(piece)
        if not self._left and self._crc != self._wanted:
            raise _spoiled("its checksum is wrong")
        return piece

    def _piece(self, wanted: int) -> bytes:
        piece = self._raw(wanted) if self._stream is None else self._inflated(self._stream, wanted)
        self._crc = zlib_ng.crc32(piece, self._crc)
        return piece

    def _inflated(self, stream: zlib_ng._Decompress, wanted: int) -> bytes:
        while wanted and not stream.eof:
            # A head takes no more than twice its length: what was packed at all did not grow by that.
            data = self._tail or self._raw(min(2 * wanted, _PIECE))
            try:
                piece = stream.decompress(data, min(wanted, _MOST))
            except cast("type[Exception]", zlib_ng.error) as error:
                raise _spoiled(str(error)) from error
            self._tail = stream.unconsumed_tail
            if piece or not data:
                return piece
        return b""

    def _raw(self, wanted: int) -> bytes:
        piece = self._read(self._at, min(wanted, self._packed, _MOST))
        self._at += len(piece)
        self._packed -= len(piece)
        return piece


def read_zip(path: Path, advance: Callable[[int], None] | None = None) -> Iterator[Content]:
    """Every member of a zip file in the order of its directory, as `read_tar` gives those of a tarball."""
    with path.open("rb") as file:
        try:
            opened = on_disk(file)
            for entry in opened.entries():
                kind = _kind(entry)
                link = opened.content(entry).decode(errors="replace") if kind == "symlink" else ""
                mode = entry.mode & 0o7777 or (0o755 if kind == "dir" else 0o644)
                size = entry.size if kind == "file" else 0
                member = Member(clean(entry.name), kind, mode, size, _seconds(entry.time), link)
                content = _Late(opened, entry) if kind == "file" else None
                yield member, cast("IO[bytes] | None", content)
                if advance:
                    advance(entry.packed)
        except EntryError:
            raise
        except InputError as error:
            raise InputError(f"{path} is damaged or cut off: {error}.") from error


class _Late:
    """An entry's content that is looked for when it is read, for it may be damaged."""

    def __init__(self, opened: Zip, entry: Entry) -> None:
        self._opened, self._entry = opened, entry
        self._content: IO[bytes] | None = None

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        if not self._content:
            if not self._entry.readable:
                raise EntryError("it is packed as Java cannot read it")
            self._content = self._opened.open(self._entry)
        return self._content.read(size)


def _kind(entry: Entry) -> Kind:
    kinds: dict[int, Kind] = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}
    if entry.name.endswith("/"):
        return "dir"
    kind = kinds.get(stat.S_IFMT(entry.mode), "special")
    return "special" if kind == "symlink" and entry.size > _LONGEST_LINK else kind


def _seconds(time: int) -> int:
    """Seconds since 1970 for a time of MS-DOS, taken for UTC; 0 for one that cannot be."""
    date, time = time >> 16, time & 0xFFFF
    try:
        parts = (1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2)
        return int(datetime(*parts, tzinfo=UTC).timestamp())
    except ValueError:
        return 0


def in_memory(content: bytes) -> Zip:
    """A zip file that was read already."""
    return Zip(lambda offset, length: content[offset : offset + length], len(content))


def on_disk(file: IO[bytes]) -> Zip:
    """A zip file of any size, of which only what is asked for is read."""

    def read(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    return Zip(read, file.seek(0, io.SEEK_END))


def _decoded(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & _UTF8 else "cp437").split("\0", 1)[0]
    except UnicodeDecodeError as error:
        raise _damaged(f"the name {name!r} is no UTF-8") from error


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The fields that are too long for the row, in the order in which they stand in the extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            longs = [one for (one,) in struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8])]
            fields = [longs.pop(0) if field == _FULL and longs else field for field in (size, packed, offset)]
            return fields[0], fields[1], fields[2]
        at += 4 + length
    return size, packed, offset


def _damaged(reason: str) -> InputError:
    return InputError(f"its zip structure is damaged: {reason}")


def _spoiled(reason: str) -> EntryError:
    return EntryError(f"its packed bytes are damaged: {reason}")
