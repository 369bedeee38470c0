"""Send one blob to a registry: not at all when it is there, and from where it was cut when it is not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import IO
from urllib.parse import quote, urlencode

import requests

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.blob import Blob
from pulsar_arm.formats.oci import digest
from pulsar_arm.host.progress import Advance
from pulsar_arm.host.registry import Registry
from pulsar_arm.host.web import NotThereError, PassingError

_PIECE = 1 << 20
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS = "application/octet-stream"


class Content:
    """Bytes that have a digest, to be read more than once."""

    def __init__(self, name: str, size: int, open_: Callable[[], IO[bytes]]) -> None:
        """`open_` gives them from their beginning."""
        self.digest, self.size, self._open = name, size, open_
        self._hash, self._hashed = hashlib.sha256(), 0

    @classmethod
    def of(cls, source: Blob | bytes) -> Content:
        """The content of a blob, or what bytes are."""
        if isinstance(source, bytes):
            return cls(digest(source), len(source), lambda: BytesIO(source))
        return cls(source.digest, source.size, source.open)

    def pieces(self, start: int, advance: Advance) -> Iterator[bytes]:
        """The bytes from `start` on, hashed when they are read first; InputError when they are others."""
        with self._open() as stream:
            stream.seek(start)
            position = start
            while piece := stream.read(_PIECE):
                fresh = position + len(piece) - self._hashed
                if 0 < fresh <= len(piece):
                    self._hash.update(memoryview(piece)[len(piece) - fresh :])
                    self._hashed += fresh
                position += len(piece)
                if position >= self.size:
                    self._check(position)
                yield piece
                advance(len(piece))
        self._check(position)

    def _check(self, size: int) -> None:
        """Before the last bytes leave: a registry must not be given what it will refuse."""
        found = f"sha256:{self._hash.hexdigest()}"
        if size != self.size or (self._hashed == size and found != self.digest):
            raise InputError(f"The blob {self.digest} has other bytes now ({found}): build the image again.")


class Upload:
    """The way of one blob into one repository."""

    def __init__(self, registry: Registry, repository: str, content: Content, advance: Advance) -> None:
        """Keep what goes where; nothing is sent yet."""
        self._registry, self._content, self._advance = registry, content, advance
        self._uploads = registry.url(f"{repository}/blobs/uploads/")
        self._blob = registry.url(f"{repository}/blobs/{content.digest}")
        self._session = ""
        """Where the registry takes the bytes of this upload."""
        self._at = 0
        """How many of them it has."""
        self._shown = 0
        self.sent = 0
        """Bytes that went out, those sent again included."""

    def is_there(self) -> bool:
        """Whether the repository has the blob."""
        try:
            self._registry.patiently(
                self._blob, lambda: self._registry.send("HEAD", self._blob), done="looked up"
            ).close()
        except NotThereError:
            return False
        return True

    def mount(self, repository: str) -> bool:
        """Whether the registry takes the blob from `repository`, another of its own."""
        url = f"{self._uploads}?{urlencode({'mount': self._content.digest, 'from': repository})}"
        return self._registry.patiently(url, lambda: self._begin(url), done="pushed")

    def skip(self) -> None:
        """Count the blob as done."""
        self._count_from(self._content.size)

    def run(self) -> None:
        """Send the blob; goes on where the registry stopped, or anew when it has forgotten the upload."""
        self._registry.patiently(self._blob, self._attempt, lambda: self._at, done="pushed")

    def give_up(self) -> None:
        """Tell the registry to forget what it has of the blob, if it listens."""
        if self._session:
            with suppress(HostError, PassingError):
                self._registry.send("DELETE", self._session, good=(202, 204)).close()

    def _attempt(self) -> None:
        if self._session and self.sent:
            self._resume()
            if not self._session and self.is_there():
                return  # it was finished, and only the answer was lost
        if not self._session:
            self._begin(self._uploads)
        try:
            if self._at < self._content.size:
                self._send_rest()
            self._finish()
        except NotThereError as error:
            self._forget()
            raise PassingError("the registry has forgotten the upload") from error

    def _begin(self, url: str) -> bool:
        """Whether the blob is there now, without an upload; else a session was begun."""
        with self._registry.send("POST", url, {"Content-Length": "0"}, good=(201, 202)) as response:
            if response.status_code == requests.codes.created:
                return True
            self._move(response)
            self._count_from(0)
            return False

    def _resume(self) -> None:
        """Ask how much has arrived; the session is gone where the registry does not know it any more."""
        try:
            with self._registry.send("GET", self._session, good=(200, 202, 204)) as response:
                told = _RANGE.fullmatch(response.headers.get("Range", ""))
                self._move(response)
        except NotThereError:
            return self._forget()
        arrived = int(told[1]) + 1 if told else 0
        if not 1 < arrived <= self._content.size:  # 0-0 is said of nothing and of one byte
            self.give_up()
            return self._forget()
        return self._count_from(arrived)

    def _forget(self) -> None:
        self._session = ""
        self._count_from(0)

    def _send_rest(self) -> None:
        headers = {"Content-Type": _OCTETS}
        if self._at:
            headers["Content-Range"] = f"{self._at}-{self._content.size - 1}"
        rest = _Rest(self._content, self._at, self._count)
        with self._registry.send(
            "PATCH", self._session, headers, body=lambda: rest, good=(201, 202, 204, 416)
        ) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                raise PassingError("the registry has another part of the upload")
            self._move(response)
        self._at = self._content.size

    def _finish(self) -> None:
        mark = "&" if "?" in self._session else "?"
        url = f"{self._session}{mark}digest={quote(self._content.digest)}"
        self._registry.send("PUT", url, {"Content-Length": "0"}, good=(201, 204)).close()
        self._session = ""

    def _move(self, response: requests.Response) -> None:
        """The session goes on where the answer says."""
        place = response.headers.get("Location", "")
        if place:
            self._session = self._registry.url(place, self._uploads)
        elif not self._session:
            raise HostError(f"{self._registry.host} begins an upload without a Location: it is no registry.")

    def _count(self, count: int) -> None:
        self.sent += count
        self._shown += count
        self._advance(count)

    def _count_from(self, position: int) -> None:
        self._advance(position - self._shown)
        self._at = self._shown = position


class _Rest:
    """What is left of a content, as a body whose length is known and that can be sent again."""

    def __init__(self, content: Content, start: int, advance: Advance) -> None:
        self._content, self._start, self._advance = content, start, advance

    def __len__(self) -> int:
        return self._content.size - self._start

    def __iter__(self) -> Iterator[bytes]:
        return self._content.pieces(self._start, self._advance)
