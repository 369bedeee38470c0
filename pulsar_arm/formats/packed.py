"""Unpack gzip, xz and zstd: told by their first bytes, in pieces that no bomb makes large."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Protocol, cast

from zlib_ng import zlib_ng

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

CHUNK = 2 << 20
_MOST = 4 << 20
"""Bytes unpacked at once."""
_GZIP_WINDOW = 31
"""zlib's wbits for gzip with its header and trailer."""
_XZ_MEMORY = 256 << 20
"""Bytes an xz stream may ask for; `xz -9` asks for 65 MiB."""
_ZSTD_WINDOW = 27
"""The logarithm of the largest window, as for the zstd program: 128 MiB."""

UNPACK_DAMAGE: tuple[type[Exception], ...] = (
    cast("type[Exception]", zlib_ng.error),
    lzma.LZMAError,
    zstd.ZstdError,
    EOFError,
)
"""What `unpacked` raises on bytes that are damaged, cut off, or ask for too much memory."""


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with `head` (6 bytes suffice) is packed in a form known here."""
    return _decompressor(head) is not None


def unpacked(raw: IO[bytes], advance: Callable[[int], None] = lambda _count: None) -> Iterator[bytes]:
    """The content of a file: unpacked where it is packed, else as it is; checksums are tested.

    Several streams one after another count as one (RFC 1952 2.2, xz 2.2, RFC 8878 3), and zeros between them
    or behind the last are passed over. `advance` is told the bytes read. Raises `UNPACK_DAMAGE`.
    """
    make = _decompressor(raw.read(6))
    raw.seek(0)
    stream: _Decompressor | None = None
    while rest := raw.read(CHUNK):
        advance(len(rest))
        if make is None:
            yield rest
            continue
        while rest or (stream and not stream.needs_input):
            if stream is None:
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                stream = make()
            if piece := stream.decompress(rest, _MOST):
                yield piece
            rest = b""
            if stream.eof:
                rest, stream = stream.unused_data, None
    if stream:
        raise EOFError("the packed stream ends early")


class _Decompressor(Protocol):
    """What lzma's and zstd's decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor in the manner of the others, which keep what they could not yet unpack."""

    def __init__(self) -> None:
        self._stream = zlib_ng.decompressobj(_GZIP_WINDOW)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, most: int) -> bytes:
        piece = self._stream.decompress(self._stream.unconsumed_tail + data, most)
        self.needs_input = not self.eof and len(piece) < most
        return piece


def _decompressor(head: bytes) -> Callable[[], _Decompressor] | None:
    if head.startswith(b"\x1f\x8b"):
        return _Gzip
    if head.startswith(b"\xfd7zXZ\0"):
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
    # RFC 8878: a frame, or a skippable one (3.1.2), whose magic's last hexadecimal digit is free.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return lambda: zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
        )
    return None
