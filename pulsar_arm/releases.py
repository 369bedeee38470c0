"""What differs from one Pulsar generation to the next: rows of `data/releases.toml`, never code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pulsar_arm.catalog import folder
from pulsar_arm.errors import CatalogError, UsageError
from pulsar_arm.tables import Table, read_toml

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Release:
    """One release, with what its generation says of it."""

    version: str
    jre: int
    """The Java release it needs."""
    environment: tuple[tuple[str, str], ...]
    """ENV of its images, beside the base's own."""
    writable: tuple[str, ...]
    """Folders under /pulsar it writes to; `/**` at the end means all below too."""
    scripts: tuple[str, ...]
    """Container scripts that go from its source zip to /pulsar/bin."""
    libc: tuple[str, ...]
    """The C libraries its natives are built for: `glibc`, `musl`."""
    pins: Mapping[str, str]
    """Known sha256 by the name of a part (`server`, `offloaders`) or script; empty when none is known."""


def default_release() -> str:
    """The release that is built when the user names none."""
    return _top()[0]


def release(version: str) -> Release:
    """The row of a version; UsageError when no generation covers it, CatalogError when the file is wrong."""
    _default, generations, pins = _top()
    for patterns, row in generations:
        if any(fnmatchcase(version, pattern) for pattern in patterns):
            return Release(version, *row, pins.get(version, {}))
    known = ", ".join(pattern for patterns, _row in generations for pattern in patterns)
    raise UsageError(f"Pulsar {version or '(of unknown version)'} is not among the known releases: {known}.")


def pins(version: str) -> Mapping[str, str]:
    """The known sha256 of a release's parts, also of one that no generation covers."""
    return _top()[2].get(version, {})


_Row = tuple[int, tuple[tuple[str, str], ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def _top() -> tuple[str, list[tuple[tuple[str, ...], _Row]], dict[str, dict[str, str]]]:
    path = folder("releases.toml")
    top = Table(path.name, read_toml(path))
    if top.number("schema") != 1:
        raise CatalogError(f"{path.name}: schema must be 1, the only one this version knows.")
    default = top.text("default")
    generations = [_generation(row) for row in top.tables("generation")]
    pins = {version: _pins(row) for version, row in top.named("pins")}
    top.end()
    return default, generations, pins


def _generation(row: Table) -> tuple[tuple[str, ...], _Row]:
    versions = row.texts("versions")
    jre, environment, writable = row.number("jre"), row.pairs("environment"), row.texts("writable")
    fields = (jre, environment, writable, row.texts("scripts"), row.texts("libc", ("glibc",)))
    row.end()
    return versions, fields


def _pins(row: Table) -> dict[str, str]:
    return {key: row.matching(key, _SHA256) for key in row.keys()}  # noqa: SIM118 - a Table is no dict
