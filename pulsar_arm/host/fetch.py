"""Bring a file over HTTP to its place, strict about what arrived.

A download goes to `FILE.part`, is hashed while it is written, goes on where it was cut (RFC 9110 ranges),
and takes its name only when it is whole and its digests are right.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from pulsar_arm.errors import HostError
from pulsar_arm.host.cache import Stored, keep
from pulsar_arm.host.progress import Advance, Progress
from pulsar_arm.host.web import Client, NotThereError, PassingError, shown

_CHUNK = 256 * 1024
_WEB_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html\b)", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class WrongFileError(HostError):
    """What came is another file than the one that was asked for."""


def download(
    client: Client,
    url: str,
    path: Path,
    *,
    progress: Progress,
    label: str,
    sha1: str | None = None,
    sha256: str | None = None,
) -> Stored:
    """Bring `url` to `path`, replacing what is there only by a whole file with the digests given (hex).

    Call it inside `cache.exclusive(path)`. What an earlier run left in the `.part` is continued when a
    digest is given to prove the sum of both; should it be wrong then, the download starts over once.
    HostError when the file cannot be had or its digest is wrong; OSError as the disk has it.
    """
    part = path.with_name(f"{path.name}.part")
    with ExitStack() as stack:
        partial = stack.enter_context(_Partial(part, go_on=bool(sha1 or sha256)))
        transfer = _Transfer(partial, lambda total: stack.enter_context(progress.task(label, total)))
        continued = partial.size > 0
        try:
            _transfer(client, url, transfer)
        except NotThereError:
            part.unlink()
            raise
        wrong = partial.mismatch(sha1, sha256)
        if wrong and continued:
            transfer.restart()
            _transfer(client, url, transfer)
            wrong = partial.mismatch(sha1, sha256)
        if transfer.unproven and not (sha1 or sha256):
            wrong = "neither a length nor a checksum, so that a cut could not be told from the end"
    if wrong:
        part.unlink()
        raise WrongFileError(
            f"{shown(url)} came with {wrong}: it was damaged on its way, or is another file; "
            f"{client.advice.damage}."
        )
    return keep(part, path, partial.sha256)


def _transfer(client: Client, url: str, transfer: _Transfer) -> None:
    def attempt() -> None:
        with client.send("GET", url, transfer.headers()) as response:
            transfer.receive(response)

    client.patiently(url, attempt, lambda: transfer.partial.size)


class _Partial:
    """The growing `.part` file and its digests."""

    def __init__(self, path: Path, *, go_on: bool) -> None:
        path.touch()
        self._file = path.open("r+b")
        self.size = 0
        self._sha1, self._sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
        if go_on:
            while chunk := self._file.read(_CHUNK):
                self._count(chunk)
        else:
            self._file.truncate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._count(chunk)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self._sha1, self._sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()

    def mismatch(self, sha1: str | None, sha256: str | None) -> str | None:
        """What is wrong with the digests, in words."""
        if sha1 and self._sha1.hexdigest() != sha1:
            return f"sha1 {self._sha1.hexdigest()} where {sha1} is published beside it"
        if sha256 and self.sha256 != sha256:
            return f"sha256 {self.sha256} where {sha256} is expected"
        return None

    def _count(self, chunk: bytes) -> None:
        self._sha1.update(chunk)
        self._sha256.update(chunk)
        self.size += len(chunk)


class _Transfer:
    """What is known of a download from one attempt to the next."""

    def __init__(self, partial: _Partial, begin: Callable[[int | None], Advance]) -> None:
        self.partial = partial
        self.unproven = True
        """Neither a length nor chunks have told where the body ends."""
        self._begin = begin
        self._advance: Advance | None = None
        self._etag: str | None = None
        self._total: int | None = None

    def headers(self) -> dict[str, str]:
        """Ask for the rest; If-Range makes the server send the whole if it is another file by now."""
        if not self.partial.size:
            return {}
        asked = {"Range": f"bytes={self.partial.size}-"}
        return {**asked, "If-Range": self._etag} if self._etag else asked

    def restart(self) -> None:
        """Forget what came so far."""
        if self._advance:
            self._advance(-self.partial.size)
        self.partial.restart()
        self._etag = self._total = None

    def receive(self, response: requests.Response) -> None:
        """Append the body to the partial file, or start over when it does not continue it."""
        start, total = _extent(response)
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if self.partial.size == total:
                self.unproven = False
                return
            self.restart()
            raise PassingError("the range was refused")
        if response.status_code == requests.codes.ok and self.partial.size:
            self.restart()
        if start != self.partial.size or (None not in (self._total, total) and self._total != total):
            self.restart()
            raise PassingError("another range than the one asked for came")
        etag = response.headers.get("ETag", "")
        self._etag = etag if etag.startswith('"') else None  # weak ones may not be used (RFC 9110, 13.1.5)
        self._total = total
        self.unproven = total is None and "chunked" not in response.headers.get("Transfer-Encoding", "")
        if self._advance is None:
            self._advance = self._begin(total)
            self._advance(self.partial.size)
        for chunk in Client.body(response):
            if not self.partial.size and _WEB_PAGE.match(chunk):
                raise WrongFileError(
                    f"{shown(response.url)} is a web page where a file was asked for, as a login or a wrong "
                    "address gives it: check the repository's URL, or name another with --maven-url."
                )
            self.partial.write(chunk)
            self._advance(len(chunk))
        if total is not None and self.partial.size != total:
            raise PassingError(f"it was cut after {self.partial.size} of {total} bytes")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Where the body starts in the whole file, and how long that is."""
    told = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if told and response.status_code != requests.codes.ok:
        return int(told[1] or 0), None if told[2] == "*" else int(told[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None
