"""Compress a stream into a blob of the same bytes on every machine, hashing both sides in one pass.

The stream is cut into blocks of one size, each deflated on its own and ended by a sync flush
(RFC 1951, an empty stored block), so that all cores work on one layer and neither their number nor
the sizes of the writes show in the result. What does not compress (jars) loses nothing by the cut.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from isal import isal_zlib
from zlib_ng import zlib_ng

from pulsar_arm.errors import HostError
from pulsar_arm.formats.blob import LAYER_GZIP, LayerBlob

_BLOCK = 1 << 20
# A block is judged by a few samples of itself: what is a jar's, compressed already, is stored. That
# gives the tree the size of level 1 in half its time, and a base a sixth less (Pulsar 2.6.0).
_PROBES, _PROBE, _WORTH = 4, 8 << 10, 0.97
# RFC 1952: deflate, no flags, no time, no extra flags, "unknown" system.
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
# RFC 1951: a last block, fixed codes, nothing but its end.
_END = b"\x03\0"


class BlobWriter:
    """A writable stream; closing it gives the gzip blob, named by its digest, in a folder.

    zlib-ng's level 2 gives equal bytes on every processor (measured); `fast` takes isal's level 1,
    which does not: then only the diff ID is the same everywhere. As a context manager it leaves
    nothing behind after an error. Memory: a few blocks of 1 MiB for each core. HostError when the
    folder cannot be written.
    """

    def __init__(
        self, directory: Path, *, fast: bool = False, advance: Callable[[int], None] | None = None
    ) -> None:
        """Write into `directory`, which is made; `advance` is told of every byte taken."""
        self._directory, self._advance = directory, advance
        self._deflate = _deflate_fast if fast else _deflate
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # Blocks are deflated by all cores, and hashed and stored in their order by a thread of its
        # own: the two hashes cost as much as the fast compression.
        self._deflaters, self._storer = ThreadPoolExecutor(cores), ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        self._most_waiting = 2 * cores
        self._buffer = bytearray()
        self._content, self._stored = hashlib.sha256(), hashlib.sha256()
        self._crc = self._length = self._size = 0
        try:
            directory.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".partial-", dir=directory)
        except OSError as error:
            raise _unwritable(directory, error) from error
        self._partial, self._file = Path(name), os.fdopen(handle, "wb", buffering=0)
        self._store(_HEADER)

    def write(self, piece: bytes | memoryview) -> int:
        """Take the next bytes."""
        self._buffer += piece
        while len(self._buffer) >= _BLOCK:
            block = bytes(memoryview(self._buffer)[:_BLOCK])
            del self._buffer[:_BLOCK]
            self._submit(block)
        if self._advance:
            self._advance(len(piece))
        return len(piece)

    def close(self) -> LayerBlob:
        """End the blob and give it; the writer is of no use afterwards."""
        if self._buffer:
            self._submit(bytes(self._buffer))
        self._drain(0)
        self._store(
            _END + self._crc.to_bytes(4, "little") + (self._length & 0xFFFFFFFF).to_bytes(4, "little")
        )
        self._file.close()
        self._shut_down()
        path = self._directory / self._stored.hexdigest()
        try:
            self._partial.chmod(0o644)
            self._partial.replace(path)
        except OSError as error:
            raise _unwritable(self._directory, error) from error
        return LayerBlob(
            digest=f"sha256:{self._stored.hexdigest()}",
            size=self._size,
            media_type=LAYER_GZIP,
            path=path,
            diff_id=f"sha256:{self._content.hexdigest()}",
            written=self._length,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shut_down()
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _submit(self, block: bytes) -> None:
        deflated = self._deflaters.submit(self._deflate, block)
        self._waiting.append(self._storer.submit(lambda: self._store(deflated.result())))
        self._content.update(block)
        self._crc = zlib_ng.crc32(block, self._crc)
        self._length += len(block)
        self._drain(self._most_waiting)

    def _drain(self, leave: int) -> None:
        while len(self._waiting) > leave:
            self._waiting.popleft().result()

    def _shut_down(self) -> None:
        # The storer first: it waits for what the deflaters have begun.
        self._storer.shutdown(cancel_futures=True)
        self._deflaters.shutdown(cancel_futures=True)

    def _store(self, piece: bytes) -> None:
        self._stored.update(piece)
        self._size += len(piece)
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _unwritable(self._directory, error) from error


def _deflate(block: bytes) -> bytes:
    step = max(len(block) // _PROBES, _PROBE)
    sample = b"".join(block[at : at + _PROBE] for at in range(0, len(block), step))
    shrinks = len(_deflate_at(1, sample)) < _WORTH * len(sample)
    return _deflate_at(2 if shrinks else 0, block)


def _deflate_at(level: int, block: bytes) -> bytes:
    compressor = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
    return compressor.compress(block) + compressor.flush(zlib_ng.Z_SYNC_FLUSH)


def _deflate_fast(block: bytes) -> bytes:
    compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    return compressor.compress(block) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)


def _unwritable(directory: Path, error: OSError) -> HostError:
    advice = "free some space" if error.errno == errno.ENOSPC else "make it writable or choose another folder"
    return HostError(f"A layer cannot be written into {directory}: {error.strerror}; {advice}.")
