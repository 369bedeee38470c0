"""Artifacts of a Maven repository: found by coordinate, checked, and kept in the cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote
from zipfile import ZipFile

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.coordinate import Coordinate as Coordinate
from pulsar_arm.formats.pom import read_versions
from pulsar_arm.host.cache import Stored, exclusive, stored, write_whole
from pulsar_arm.host.fetch import download
from pulsar_arm.host.progress import Progress
from pulsar_arm.host.ranged import Question, RangesRefusedError, ask_remote_zip, ask_zip
from pulsar_arm.host.settings import read_settings
from pulsar_arm.host.web import Client, NotThereError, Patience, shown

_SHA1 = re.compile(r"\b[0-9a-f]{40}\b", re.IGNORECASE)
_T = TypeVar("_T")


class NotPublished(HostError):  # noqa: N818 - reads as the answer it is
    """The repository has no such artifact."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An artifact that is here and whole."""

    coordinate: Coordinate
    path: Path
    """In the cache: to be read, never changed."""
    sha256: str


class Repository:
    """A Maven repository behind a cache that processes and threads may share.

    Asked is `url`, else the mirror that ~/.m2/settings.xml names, else Maven's default repository; the
    proxies and credentials of settings.xml count in each case. Nothing of this is looked at before something
    is not in the cache. Every failure is a HostError, or an InputError when settings.xml is broken.
    """

    def __init__(
        self,
        cache: Path,
        *,
        progress: Progress,
        url: str | None = None,
        offline: bool = False,
        settings: Path | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`cache` need not exist yet; `settings` is another settings.xml than the user's own."""
        self._place = cache / "maven"
        self._url = url
        self._offline = offline
        self._progress = progress
        self._settings = settings
        self._patience = patience

    def fetch(self, coordinate: Coordinate, sha256: str | None = None) -> Fetched:
        """The whole artifact, out of the cache if it is there.

        Checked against the sha1 that the repository publishes beside it, and against `sha256` (hex) if given.
        NotPublished when the repository has no such artifact.
        """
        path = self._place / coordinate.path
        pinned = sha256.lower() if sha256 else None
        kept = stored(path, pinned)
        if kept is None:
            self._need_network(
                coordinate, "another file than the one expected" if stored(path) else "nothing"
            )
            with exclusive(path, self._progress):
                kept = stored(path, pinned) or self._download(coordinate, path, pinned)
        return Fetched(coordinate, kept.path, kept.sha256)

    def read_entries(self, coordinate: Coordinate, names: Sequence[str]) -> dict[str, bytes]:
        """Single entries of a zip by their names; the rest is not fetched where the server allows that.

        They are kept in the cache. What came so is checked by the zip's own CRC only: compare it with a
        pinned digest. HostError when an entry is not in the zip.
        """
        folder = self._place / f"{coordinate.path}!"
        places = {name: folder / _inside(coordinate, name) for name in names}
        found = _kept(places)
        if len(found) < len(places):
            self._need_network_or_whole(coordinate)
            with exclusive(folder, self._progress):
                found = _kept(places)
                lacking = [name for name in places if name not in found]

                def read(archive: ZipFile) -> dict[str, bytes]:
                    return {name: _entry(coordinate, archive, name) for name in lacking}

                for name, content in self._ask(coordinate, read).items():
                    places[name].parent.mkdir(parents=True, exist_ok=True)
                    write_whole(places[name], content)
                    found[name] = content
        return {name: found[name] for name in names}

    def list_entries(self, coordinate: Coordinate) -> list[str]:
        """The names of all entries of a zip, in its own order, found and kept as `read_entries` does."""
        index = self._place / f"{coordinate.path}!.entries"
        found = _kept({"": index})
        if not found:
            self._need_network_or_whole(coordinate)
            with exclusive(index, self._progress):
                names = self._ask(coordinate, ZipFile.namelist)
                found = {"": "\n".join(names).encode()}
                write_whole(index, found[""])
        return found[""].decode().split("\n")

    def heads(self, coordinate: Coordinate, wanted: Callable[[str], bool], size: int) -> dict[str, bytes]:
        """The first `size` bytes of the entries of a zip whose names are `wanted`, by ranged requests.

        NotPublished when the repository has no such artifact.
        """

        def read(archive: ZipFile) -> dict[str, bytes]:
            found = {}
            for info in archive.infolist():
                if wanted(info.filename):
                    with archive.open(info) as entry:
                        found[info.filename] = entry.read(size)
            return found

        self._need_network_or_whole(coordinate)
        return self._ask(coordinate, read)

    def versions(self, group: str, artifact: str) -> tuple[str, ...]:
        """All published versions, in the order of the repository's own list (maven-metadata.xml).

        The list grows, so the one in the cache is asked only offline. NotPublished for an unknown artifact.
        """
        path = Coordinate(group, artifact, "0").path.rsplit("/", 2)[0] + "/maven-metadata.xml"
        place = self._place / path
        kept = _kept({"": place}).get("")
        if not self._offline:
            url, client = self._network
            try:
                kept = client.read(f"{url}/{quote(path)}")
            except NotThereError as error:
                raise NotPublished(
                    f"{group}:{artifact} is not published in {shown(url)}: check its name, "
                    "or name another repository with --maven-url."
                ) from error
            with exclusive(place, self._progress):
                write_whole(place, kept)
        if kept is None:
            raise HostError(
                f"The versions of {group}:{artifact} are not in the cache {self._place.parent}: "
                "run once without --offline."
            )
        return read_versions(kept, f"maven-metadata.xml of {group}:{artifact}")

    def is_published(self, fetched: Fetched) -> bool:
        """Whether the repository still has that very file, by the sha1 beside it; True if it tells none."""
        base, client = self._network
        url = f"{base}/{quote(fetched.coordinate.path)}"
        told = _published_sha1(client, url)
        if told is None:
            return client.exists(url)
        with fetched.path.open("rb") as file:
            return hashlib.file_digest(file, "sha1").hexdigest() == told

    def has(self, coordinate: Coordinate) -> bool:
        """Whether the artifact is in the cache or, unless offline, in the repository."""
        if stored(self._place / coordinate.path):
            return True
        if self._offline:
            return False
        url, client = self._network
        return client.exists(f"{url}/{quote(coordinate.path)}")

    @cached_property
    def _network(self) -> tuple[str, Client]:
        """The repository's URL and how to speak to it."""
        from jgo.constants import MAVEN_CENTRAL_URL  # here, because jgo takes a third of a second to import

        settings = read_settings(self._settings or Path.home() / ".m2" / "settings.xml")
        remote = settings.remote(self._url, MAVEN_CENTRAL_URL)
        proxy_for = settings.proxy_for if settings.proxies else None
        client = Client(self._progress, auth=remote.auth, proxy_for=proxy_for, patience=self._patience)
        return remote.url, client

    def _download(self, coordinate: Coordinate, path: Path, pinned: str | None) -> Stored:
        base, client = self._network
        url = f"{base}/{quote(coordinate.path)}"
        sha1 = _published_sha1(client, url)
        try:
            kept = download(
                client,
                url,
                path,
                progress=self._progress,
                label=f"Fetching {coordinate.file}",
                sha1=sha1,
                sha256=pinned,
            )
        except NotThereError as error:
            raise self._not_published(coordinate) from error
        if not sha1 and not pinned:
            self._progress.note(f"{coordinate} could not be checked: {shown(base)} publishes no sha1 of it.")
        return kept

    def _ask(self, coordinate: Coordinate, question: Question[_T]) -> _T:
        """Put a question to the zip: to the one in the cache, to parts of the remote one, or to all of it."""
        whole = stored(self._place / coordinate.path)
        if whole is None:
            url, client = self._network
            try:
                return ask_remote_zip(client, f"{url}/{quote(coordinate.path)}", question)
            except NotThereError as error:
                raise self._not_published(coordinate) from error
            except RangesRefusedError:
                self._progress.note(
                    f"{shown(url)} sends files only whole: fetching all of {coordinate.file}."
                )
        return ask_zip(self.fetch(coordinate).path, question)

    def _not_published(self, coordinate: Coordinate) -> NotPublished:
        return NotPublished(
            f"{coordinate} is not published in {shown(self._network[0])}: check the version, "
            "or name another repository with --maven-url."
        )

    def _need_network_or_whole(self, coordinate: Coordinate) -> None:
        if stored(self._place / coordinate.path) is None:
            self._need_network(coordinate, "not all that is needed")

    def _need_network(self, coordinate: Coordinate, there: str) -> None:
        if self._offline:
            raise HostError(
                f"Of {coordinate} there is {there} in the cache {self._place.parent}: "
                "run once without --offline, or run `pulsar-arm fetch` where there is a network."
            )


def _published_sha1(client: Client, url: str) -> str | None:
    """The digest that stands beside an artifact, where one does."""
    try:
        told = _SHA1.search(client.read(f"{url}.sha1").decode("ascii", "replace"))
    except NotThereError:
        return None
    return told[0].lower() if told else None


def _kept(places: dict[str, Path]) -> dict[str, bytes]:
    """The contents of those files that are there."""
    found = {}
    for name, place in places.items():
        try:
            found[name] = place.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise HostError(
                f"{place} cannot be read: {error.strerror}; choose another cache with --cache."
            ) from error
    return found


def _inside(coordinate: Coordinate, name: str) -> str:
    """The entry's name, once it is sure to stay inside a folder: names may come from the zip itself."""
    parts = name.split("/")
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{name!r} is no name for an entry of {coordinate}: give the path of a file in it.")
    return name


def _entry(coordinate: Coordinate, archive: ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError as error:
        raise HostError(f"{coordinate} has no entry {name}: check the version and the name.") from error
