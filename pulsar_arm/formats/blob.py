"""Blobs by digest: where their bytes lie, and a layer's tar inside its compression."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from zlib_ng import gzip_ng, zlib_ng

from pulsar_arm.errors import InputError
from pulsar_arm.formats.packed import UNPACK_DAMAGE, unpacked

# OCI image-spec 1.1, media-types.md and layer.md; docker's own types are taken for what they are.
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER_TAR + "+gzip"
LAYER_ZSTD = LAYER_TAR + "+zstd"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
"""The one algorithm that every registry and engine knows (OCI image-spec, descriptor.md)."""
DAMAGED: tuple[type[Exception], ...] = (
    tarfile.TarError,
    gzip.BadGzipFile,
    cast(type[Exception], zlib_ng.error),
    *UNPACK_DAMAGE,
)
"""What reading a broken layer or archive raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes named by their digest; two are equal when their content is, wherever they lie."""

    digest: str
    """`sha256:` and 64 hexadecimal digits, of the bytes as stored."""
    size: int
    """Bytes as stored."""
    media_type: str
    """As in the manifest (OCI image-spec, media-types.md)."""
    path: Path = field(compare=False)
    """The file that holds them: the blob itself, or an archive around it."""
    offset: int = field(default=0, compare=False)
    """Where in that file they begin."""
    keep: object = field(default=None, compare=False, repr=False)
    """What must live as long as the blob does: the temporary folder of an unpacked archive."""

    @property
    def hex(self) -> str:
        """The digest without its algorithm: the blob's file name in a layout."""
        return self.digest.removeprefix("sha256:")

    def open(self) -> io.BufferedReader:
        """The bytes as stored, seekable; InputError when the file is gone."""
        try:
            raw = self.path.open("rb")
        except OSError as error:
            raise InputError(
                f"The blob {self.digest} cannot be read: {self.path}: {error.strerror}."
            ) from error
        if not self.offset and self.path.name == self.hex:
            return raw
        return io.BufferedReader(_Slice(raw, self.offset, self.size), 1 << 17)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBlob(Blob):
    """A layer: a tar of changes, most often compressed (OCI image-spec, layer.md)."""

    diff_id: str
    """`sha256:` and 64 digits, of the tar without compression."""
    written: int = field(default=0, compare=False)
    """Bytes of that tar, as told by what wrote it; 0 when that is not known."""

    def open_tar(self) -> io.BufferedIOBase:
        """The tar without its compression, seekable where it has none; `DAMAGED` tells what it may raise."""
        if self.media_type == LAYER_TAR:
            return self.open()
        if self.media_type == LAYER_GZIP:
            return cast(io.BufferedIOBase, gzip_ng.GzipNGFile(fileobj=self.open(), mode="rb"))  # type: ignore[no-untyped-call]
        return io.BufferedReader(_Unpacked(self.open()), 1 << 17)

    def tar_size(self) -> int:
        """Bytes of the tar without compression; where its writer did not tell, it is read for them."""
        if self.written:
            return self.written
        with self.open_tar() as tar:
            return sum(len(piece) for piece in iter(lambda: tar.read(1 << 20), b""))


class _Slice(io.RawIOBase):
    """The part of a file that is one blob."""

    def __init__(self, raw: io.BufferedReader, offset: int, size: int) -> None:
        self._raw, self._offset, self._size, self._position = raw, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + position)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._size - self._position))
        self._raw.seek(self._offset + self._position)
        count = self._raw.readinto(memoryview(buffer)[:wanted])
        self._position += count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """The content of a packed stream."""

    def __init__(self, packed: io.BufferedReader) -> None:
        self._packed, self._pieces, self._rest = packed, unpacked(packed), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._packed.close()
        super().close()
