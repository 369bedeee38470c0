"""Bring the parts of a release from a Maven repository: server, offloaders, connectors, container scripts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from lxml import etree

from pulsar_arm.errors import HostError, InputError, UsageError
from pulsar_arm.host.maven import Coordinate, NotPublished, Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.releases import Release, pins

_ASSEMBLY = "pulsar/distribution/io/src/assemble/io.xml"
_NAR = re.compile(r"pulsar-io-([a-z0-9-]+)-\$\{project\.version\}\.nar")


def _coordinate(artifact: str, version: str, form: str) -> Coordinate:
    return Coordinate.parse(f"org.apache.pulsar:{artifact}:{version}:{form}")


def server_coordinate(version: str) -> Coordinate:
    """Where a release's server tarball is published."""
    return _coordinate("pulsar-server-distribution", version, "tar.gz:bin")


def fetch_server(version: str, repository: Repository) -> Path:
    """The server tarball of a release, checked against its pinned sha256 where one is known.

    HostError when the repository does not have it.
    """
    try:
        return repository.fetch(server_coordinate(version), sha256=pins(version).get("server")).path
    except NotPublished as error:
        raise HostError(f"Pulsar {version} has no server tarball in the repository: {error}") from error


def fetch_offloaders(version: str, repository: Repository, progress: Progress) -> Path | None:
    """The offloaders' tarball; None, said by a note, where the release has none."""
    coordinate = _coordinate("pulsar-offloader-distribution", version, "tar.gz:bin")
    try:
        return repository.fetch(coordinate, sha256=pins(version).get("offloaders")).path
    except NotPublished:
        progress.note(f"Pulsar {version} has no offloaders in the repository; going on without them.")
        return None


def connector_names(version: str, repository: Repository) -> tuple[str, ...]:
    """The connectors of a release, as its own assembly (in the source zip) lists them, sorted."""
    coordinate = _coordinate("pulsar", version, "zip:source-release")
    content = repository.read_entries(coordinate, [_ASSEMBLY])[_ASSEMBLY]
    try:
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise InputError(f"{_ASSEMBLY} of Pulsar {version} is no XML: {error}.") from error
    sources = (element.text or "" for element in root.iter("{*}source"))
    return tuple(sorted({match[1] for source in sources if (match := _NAR.search(source))}))


def choose_connectors(asked: str, version: str, repository: Repository) -> tuple[str, ...]:
    """The connectors meant by `all` or `NAME,NAME...`; UsageError names what the release does not have."""
    known = connector_names(version, repository)
    if asked == "all":
        return known
    names = [name.strip().removeprefix("pulsar-io-") for name in asked.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"Pulsar {version} has no connector {unknown[0]}: choose among {', '.join(known)}.")
    return tuple(dict.fromkeys(names))


def fetch_connectors(
    names: Sequence[str], version: str, repository: Repository, progress: Progress
) -> dict[str, Path]:
    """The NARs by the file name they have in an image; one that was not published is said, and left out.

    They are published under the extension jar.
    """
    found = {}
    for name in names:
        try:
            fetched = repository.fetch(Coordinate("org.apache.pulsar", f"pulsar-io-{name}", version))
        except NotPublished:
            progress.note(
                f"The connector {name} of Pulsar {version} is not in the repository; going on without it."
            )
        else:
            found[f"pulsar-io-{name}-{version}.nar"] = fetched.path
    return found


def fetch_scripts(release: Release, repository: Repository) -> dict[str, bytes]:
    """The container scripts of a release by name, each read from its source zip and checked if pinned."""
    coordinate = _coordinate("pulsar", release.version, "zip:source-release")
    entries = [f"pulsar/docker/pulsar/scripts/{name}" for name in release.scripts]
    contents = repository.read_entries(coordinate, entries)
    scripts = {}
    for name, entry in zip(release.scripts, entries, strict=True):
        scripts[name] = contents[entry]
        expected = release.pins.get(name)
        if expected and hashlib.sha256(contents[entry]).hexdigest() != expected:
            raise HostError(
                f"{entry} of {coordinate} is not the pinned file: fetch from a repository you trust."
            )
    return scripts
