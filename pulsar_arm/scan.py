"""Judge what would break on the target machine: the gaps per library and class path, and the checks.

A gap is a library whose loader would find nothing that fits in a class path, siblings considered:
the aarch64 build often lies in another jar beside it. What a loader asks for, how badly it hurts and
what mends it comes from jar_overrides; a library that has no file there is judged by its headers.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from pulsar_arm.catalog import SEVERITIES, Catalog, Override, Severity
from pulsar_arm.distribution import Distribution, Source, recognise
from pulsar_arm.errors import InputError
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform
from pulsar_arm.requirements import read_requirements
from pulsar_arm.walk import Findings, FoundClass, FoundNative, Unreadable, walk

_UNKNOWN: Severity = "feature"
_UNKNOWN_REASON = (
    "not in the catalog; taken to fail when it is first used, as a library without a fallback does"
)
_CHECK: Severity = "feature"


@dataclass(frozen=True, slots=True)
class Native:
    """One native library file."""

    library: str
    """The Maven artifact id of its jar; a loose file's stem."""
    version: str
    scope: str
    """The class path folder or NAR it belongs to."""
    location: str
    """Inside the distribution without its top folder, nested with `!/`."""
    format: str
    machine: str
    system: str
    libc: str
    requires: tuple[tuple[str, str], ...]
    """Highest symbol versions needed; read for the target's Linux libraries."""
    page_align: int
    """Smallest alignment of a LOAD segment in bytes; 0 where it was not read."""
    note: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A library that a class path needs and the target will not find, or should not use."""

    library: str
    version: str
    scope: str
    kind: Literal["missing", "broken"]
    severity: Severity
    locations: tuple[str, ...]
    """The jars or loose files that hold it."""
    present: tuple[str, ...]
    """Machines it is there for."""
    reason: str


@dataclass(frozen=True, slots=True)
class PlatformCheck:
    """Code that refuses to run on the target."""

    location: str
    """The jar."""
    class_name: str
    entry: str
    sha256: str
    """Of the class file."""
    severity: Severity
    accepts: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that a scan has to say about one source."""

    target: Platform
    distribution: Distribution
    libraries: tuple[Native, ...]
    gaps: tuple[Gap, ...]
    checks: tuple[PlatformCheck, ...]
    unreadable: tuple[Unreadable, ...]

    def summary(self) -> dict[Severity, int]:
        """How many gaps and checks there are of each severity."""
        rows = [*(gap.severity for gap in self.gaps), *(check.severity for check in self.checks)]
        return {severity: rows.count(severity) for severity in SEVERITIES}


def scan(
    source: Source, catalog: Catalog, target: Platform, progress: Progress, libc: str = "glibc"
) -> Inventory:
    """Read a source once and judge it for `target`.

    What is damaged is told in `unreadable`, and does not stop the rest.
    """
    with ThreadPoolExecutor(1) as hashing, progress.task(f"Scanning {source.name}", source.size()) as advance:
        digest = hashing.submit(source.sha256)
        findings = walk(source.members(advance), target.name, again=source.members)
        distribution = recognise(findings.paths, source, digest.result())
    return judge(findings, distribution, catalog, target, libc)


def judge(
    findings: Findings, distribution: Distribution, catalog: Catalog, target: Platform, libc: str = "glibc"
) -> Inventory:
    """Turn what a walk has found into gaps and checks; pure."""
    strip = f"{distribution.root}/" if distribution.root else ""
    natives = [
        _native(found, machine, strip) for found in findings.natives for machine in found.head.machines
    ]
    unreadable = [Unreadable(row.location.removeprefix(strip), row.reason) for row in findings.unreadable]
    checks = list[PlatformCheck]()
    for found in findings.classes:
        match _check(found, strip, target):
            case PlatformCheck() as check:
                checks.append(check)
            case Unreadable() as row:
                unreadable.append(row)
    order = {severity: rank for rank, severity in enumerate(SEVERITIES)}
    gaps = sorted(
        _gaps(findings.natives, strip, catalog, target, libc),
        key=lambda gap: (order[gap.severity], gap.library, gap.scope),
    )
    return Inventory(target, distribution, tuple(natives), tuple(gaps), tuple(checks), tuple(unreadable))


def _native(found: FoundNative, machine: str, strip: str) -> Native:
    owner, elf = found.container, found.elf
    return Native(
        library=owner.library,
        version=owner.version,
        scope=owner.scope.removeprefix(strip),
        location=found.location.removeprefix(strip),
        format=found.head.format,
        machine=machine,
        system=found.head.system,
        libc=elf.libc if elf else "",
        requires=elf.requires if elf else (),
        page_align=elf.page_align if elf else 0,
        note=found.damage,
    )


def _gaps(
    natives: Sequence[FoundNative], strip: str, catalog: Catalog, target: Platform, libc: str
) -> Iterable[Gap]:
    libraries = defaultdict[tuple[str, str, str], list[FoundNative]](list)
    entries = defaultdict[str, set[str]](set)
    for found in natives:
        if not _for_linux(found):
            continue
        owner = found.container
        libraries[owner.library, owner.version, owner.scope].append(found)
        if _serves(found, target, libc):
            entries[owner.scope].add(found.entry)
    for (library, version, scope), members in libraries.items():
        override = catalog.get(library)
        place = scope.removeprefix(strip)
        asks = override.asks(target.name, libc, version) if override else ()
        siblings = [one for one in members if _serves(one, target, libc)]
        if asks:
            found_it = not entries[scope].isdisjoint(asks)
        else:
            found_it = bool(siblings) or any(
                _serves(one, target, libc)
                for (other, _version, where), rows in libraries.items()
                if (other, where) == (library, scope)
                for one in rows
            )
        bad = override.known_bad(version) if override else None
        if found_it and not bad:
            continue
        severity, reason = _severity(override, place, version)
        if found_it and bad:
            severity, reason = bad.severity, bad.reason
        elif siblings:
            reason += f" (it holds {siblings[0].entry}, but its loader asks for {asks[0]})"
        damaged = sorted({one.damage for one in members if one.damage})
        yield Gap(
            library=library,
            version=version,
            scope=place,
            kind="broken" if found_it else "missing",
            severity=severity,
            locations=tuple(sorted({one.container.location.removeprefix(strip) for one in members})),
            present=tuple(sorted({machine for one in members for machine in one.head.machines})),
            reason=reason + (f"; besides, {damaged[0]}" if damaged else ""),
        )


def _for_linux(found: FoundNative) -> bool:
    """A library of Linux with a C library of servers; Android's is another system's."""
    if (
        found.head.format != "elf"
        or found.head.system != "linux"
        or (found.elf and found.elf.libc == "bionic")
    ):
        return False
    # Solaris and the older BSDs do not mark their ELF files: there, and only there, the folder tells.
    parts = found.entry.lower().split("/")
    return not any(part.startswith(_UNMARKED) for part in parts)


_UNMARKED = ("sunos", "solaris", "freebsd", "openbsd", "netbsd", "dragonfly", "aix", "hpux", "android")


def _serves(found: FoundNative, target: Platform, libc: str) -> bool:
    return target.name in found.head.machines and (found.elf is not None) and found.elf.libc in (libc, "")


def _severity(override: Override | None, scope: str, version: str) -> tuple[Severity, str]:
    judgement = override.judge(scope, version) if override else None
    return (judgement.severity, judgement.reason) if judgement else (_UNKNOWN, _UNKNOWN_REASON)


def _check(found: FoundClass, strip: str, target: Platform) -> PlatformCheck | Unreadable | None:
    location = found.location.removeprefix(strip)
    try:
        requirements = read_requirements(found.content, f"{location}!/{found.entry}")
    except InputError as error:
        return Unreadable(f"{location}!/{found.entry}", str(error))
    if requirements is None or requirements.admits(target.name):
        return None
    accepts, vendors = requirements.accepts, requirements.vendors
    says = [f"accepts only {', '.join(accepts)}"] if accepts and target.name not in accepts else []
    says += [f"wants a JVM whose vendor is {' or '.join(vendors)}"] if vendors else []
    return PlatformCheck(
        location=location,
        class_name=requirements.class_name,
        entry=found.entry,
        sha256=hashlib.sha256(found.content).hexdigest(),
        severity=_CHECK,
        accepts=accepts,
        reason=f"Pulsar SQL does not start on {target.name}: it {' and '.join(says)}",
    )
