"""Look into a zip, here or on a server: there only the bytes that are needed travel."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from remotezip import RemoteFetcher, RemoteZip, RemoteZipError

from pulsar_arm.errors import HostError
from pulsar_arm.host.web import Client, PassingError, shown

_T = TypeVar("_T")
Question = Callable[[zipfile.ZipFile], _T]


class RangesRefusedError(Exception):
    """The server sends files only whole."""


def ask_zip(path: Path, question: Question[_T]) -> _T:
    """Put `question` to the zip at `path`; HostError when it is damaged."""
    return _ask(str(path), lambda: zipfile.ZipFile(path), question)


def ask_remote_zip(client: Client, url: str, question: Question[_T]) -> _T:
    """Put `question` to the zip at `url` by HTTP range requests (RFC 9110, 14).

    It may be asked more than once, since failures of the network are tried again. RangesRefusedError when
    the server knows no ranges, HostError when the zip is damaged or cannot be had.
    """

    def attempt() -> _T:
        try:
            return _ask(shown(url), lambda: RemoteZip(url, session=client, fetcher=_Ranges), question)
        except urllib3.exceptions.HTTPError as error:
            raise PassingError("the connection was cut") from error

    return client.patiently(url, attempt)


def _ask(
    place: str, open_zip: Callable[[], AbstractContextManager[zipfile.ZipFile]], question: Question[_T]
) -> _T:
    try:
        with open_zip() as archive:
            return question(archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, RemoteZipError) as error:
        raise HostError(
            f"{place} cannot be read as a zip: {error}; remove it from the cache, or name another "
            "repository with --maven-url."
        ) from error


class _Ranges(RemoteFetcher):  # type: ignore[misc]  # remotezip carries no types
    """remotezip's requests, sent by our client."""

    def _request(self, kwargs: dict[str, Any]) -> tuple[Any, str]:
        response = self._session.send("GET", self._url, kwargs["headers"])
        if response.status_code != 206 or "Content-Range" not in response.headers:
            response.close()
            raise RangesRefusedError
        return response.raw, response.headers["Content-Range"]
