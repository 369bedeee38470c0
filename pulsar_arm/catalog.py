"""What is known of each native library: read from `jar_overrides/*.toml`, validated before any work.

This is the only module that knows where the data folders lie. An override file is named after the
library (its Maven artifact id, or a loose file's stem); README.md in that folder tells the schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast, get_args

from pulsar_arm.errors import CatalogError
from pulsar_arm.tables import Table, read_toml

Severity = Literal["fatal", "feature", "degraded", "harmless"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Action = Literal["replace", "add", "graft", "tolerate"]
_ACTIONS: tuple[Action, ...] = get_args(Action)


@dataclass(frozen=True, slots=True)
class LoaderNames:
    """The entries or files a loader class asks for on one machine."""

    machine: str
    libc: str
    """`glibc`, `musl`, or `*` where the loader does not tell them apart."""
    versions: tuple[str, ...]
    names: tuple[str, ...]
    """Entry names inside a jar of the class path; any one of them will do."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How badly a gap of this library hurts, and how that is known."""

    scopes: tuple[str, ...]
    versions: tuple[str, ...]
    severity: Severity
    reason: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """What mends a gap, or why it may stay."""

    scopes: tuple[str, ...]
    versions: tuple[str, ...]
    action: Action
    coordinate: str
    """`group:artifact:version[:extension[:classifier]]` of what is brought in; empty for `tolerate`."""
    sha256: str
    licence: str
    why: str
    opt_in: bool = False
    """Whether it is taken only when asked for: a graft whose file names no proof that it runs."""


@dataclass(frozen=True, slots=True)
class KnownBad:
    """Versions whose aarch64 library is there, yet fails or computes wrong."""

    versions: tuple[str, ...]
    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True)
class Override:
    """One file of jar_overrides."""

    library: str
    path: Path
    summary: str
    loaders: tuple[LoaderNames, ...]
    judgements: tuple[Judgement, ...]
    remedies: tuple[Remedy, ...]
    bad: tuple[KnownBad, ...]

    def asks(self, machine: str, libc: str, version: str) -> tuple[str, ...]:
        """The names its loader asks for on `machine`; empty when the file does not say."""
        for loader in self.loaders:
            if (
                loader.machine in (machine, "*")
                and loader.libc in (libc, "*")
                and _match(loader.versions, version)
            ):
                return tuple(name.replace("{version}", version) for name in loader.names)
        return ()

    def judge(self, scope: str, version: str) -> Judgement | None:
        """The first judgement whose scope and version fit."""
        return next((row for row in self.judgements if _fits(row, scope, version)), None)

    def remedies_for(self, scope: str, version: str) -> tuple[Remedy, ...]:
        """All remedies whose scope and version fit, the preferred first."""
        return tuple(row for row in self.remedies if _fits(row, scope, version))

    def known_bad(self, version: str) -> KnownBad | None:
        """The row that names this version, if one does."""
        return next((row for row in self.bad if _match(row.versions, version)), None)


Catalog = Mapping[str, Override]


def folder(name: str) -> Path:
    """Where a data folder or file lies: in an installed wheel, else beside the package."""
    package = Path(__file__).parent
    for place in (package / "data" / name, package.parent / name):
        if place.exists():
            return place
    raise CatalogError(f"The data folder or file {name} is missing here: install pulsar-arm again.")


def load_catalog(place: Path | None = None) -> Catalog:
    """Every override by its library; CatalogError names the file and key that is wrong.

    `place` and the folders in it are read, the shipped ones when none is given. The file's name is the
    library's: two of one name, in upper or lower case, are a mistake that no reader would see.
    """
    place = place or folder("jar_overrides")
    paths = sorted(place.rglob("*.toml"), key=lambda path: (path.stem.casefold(), path))
    for one, other in pairwise(paths):
        if one.stem.casefold() == other.stem.casefold():
            first, second = one.relative_to(place), other.relative_to(place)
            raise CatalogError(f"{place} has two overrides for {one.stem}: remove {first} or {second}.")
    return {path.stem: read_override(path) for path in paths}


def layered(own: Path | None) -> Catalog:
    """The shipped catalog with the user's own folder first: a file there takes the shipped one's place."""
    return {**load_catalog(), **(load_catalog(own) if own else {})}


def _match(patterns: tuple[str, ...], value: str) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns)


def _fits(row: Judgement | Remedy, scope: str, version: str) -> bool:
    return _match(row.scopes, scope) and _match(row.versions, version)


_ANY = ("*",)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COORDINATE = re.compile(r"[^:\s]+:[^:\s]+:[^:\s]+(?::[^:\s]+){0,2}")


def read_override(path: Path) -> Override:
    """One file; CatalogError names the key that is wrong."""
    top = Table(path.name, read_toml(path))
    if top.number("schema") != 1:
        raise CatalogError(f"{path.name}: schema must be 1, the only one this version knows.")
    override = Override(
        library=path.stem,
        path=path,
        summary=top.text("summary"),
        loaders=tuple(_loader(row) for row in top.tables("loader")),
        judgements=tuple(_judgement(row) for row in top.tables("severity")),
        remedies=tuple(_remedy(row) for row in top.tables("remedy")),
        bad=tuple(_known_bad(row) for row in top.tables("bad")),
    )
    top.end()
    return override


def _loader(row: Table) -> LoaderNames:
    loader = LoaderNames(
        machine=row.text("machine"),
        libc=row.choice("libc", ("glibc", "musl", "*")),
        versions=row.patterns("versions", _ANY),
        names=row.texts("names"),
    )
    row.text("class", "")
    row.end()
    return loader


def _judgement(row: Table) -> Judgement:
    judgement = Judgement(
        scopes=row.texts("scopes", _ANY),
        versions=row.patterns("versions", _ANY),
        severity=cast("Severity", row.choice("level", SEVERITIES)),
        reason=row.text("reason"),
        evidence=row.text("evidence"),
    )
    row.end()
    return judgement


def _remedy(row: Table) -> Remedy:
    action = cast("Action", row.choice("action", _ACTIONS))
    brings = action != "tolerate"
    remedy = Remedy(
        scopes=row.texts("scopes", _ANY),
        versions=row.patterns("versions", _ANY),
        action=action,
        coordinate=row.matching("with", _COORDINATE) if brings else "",
        sha256=row.matching("sha256", _SHA256) if brings else "",
        licence=row.text("licence") if brings else "",
        why=row.text("why"),
        opt_in=action == "graft" and not row.text("proof", ""),
    )
    row.end()
    return remedy


def _known_bad(row: Table) -> KnownBad:
    bad = KnownBad(
        versions=row.patterns("versions"),
        severity=cast("Severity", row.choice("level", SEVERITIES)),
        reason=row.text("reason"),
    )
    row.end()
    return bad
