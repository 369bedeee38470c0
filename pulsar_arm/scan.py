"""Judge what would break on the target machine: the gaps per library and class path, and the checks.

A gap is a library whose loader would find nothing that fits in a class path, siblings considered:
the aarch64 build often lies in another jar beside it. What a loader asks for, how badly it hurts and
what mends it comes from jar_overrides; a library that has no file there is judged by its headers.
What is found must also load on the system that is asked about (`fitness`).
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from pulsar_arm.catalog import SEVERITIES, Catalog, Override, Severity
from pulsar_arm.distribution import Distribution, Source, recognise
from pulsar_arm.errors import InputError
from pulsar_arm.families import family
from pulsar_arm.fitness import ANY_GLIBC, Runtime
from pulsar_arm.host.progress import Progress
from pulsar_arm.lookup import Kind, Lookup, file_name, for_linux
from pulsar_arm.platforms import Platform
from pulsar_arm.requirements import read_requirements
from pulsar_arm.walk import LIMITS, Findings, FoundClass, FoundNative, Limits, Unreadable, walk

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
    needed: tuple[str, ...] = ()
    """DT_NEEDED; this and what follows is read for the target's Linux libraries."""
    loads: tuple[int, ...] = ()
    """Alignment of each LOAD segment in bytes."""
    hazards: tuple[str, ...] = ()
    """`executable-stack`, `text-relocations`, `jemalloc`: what some system refuses."""
    misfit: str = ""
    """Why it would not load on the system that was asked about."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A library that a class path needs and the target will not find, or should not use."""

    library: str
    version: str
    scope: str
    kind: Kind | Literal["broken"]
    """`unfit` is there, but not for the system that was asked about."""
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
    runtime: Runtime = ANY_GLIBC
    """The system that was asked about."""

    def summary(self) -> dict[Severity, int]:
        """How many gaps and checks there are of each severity."""
        rows = [*(gap.severity for gap in self.gaps), *(check.severity for check in self.checks)]
        return {severity: rows.count(severity) for severity in SEVERITIES}


def scan(
    source: Source,
    catalog: Catalog,
    target: Platform,
    progress: Progress,
    runtime: Runtime = ANY_GLIBC,
    limits: Limits = LIMITS,
) -> Inventory:
    """Read a source once and judge it for `target`, and for the system it shall run on.

    What is damaged is told in `unreadable`, and does not stop the rest.
    """
    with ThreadPoolExecutor(1) as hashing, progress.task(f"Scanning {source.name}", source.size()) as advance:
        digest = hashing.submit(source.sha256)
        findings = walk(source.members(advance), target.name, limits, again=source.members)
        distribution = recognise(findings.paths, source, digest.result())
    return judge(findings, distribution, catalog, target, runtime)


def judge(
    findings: Findings,
    distribution: Distribution,
    catalog: Catalog,
    target: Platform,
    runtime: Runtime = ANY_GLIBC,
) -> Inventory:
    """Turn what a walk has found into gaps and checks; pure."""
    strip = f"{distribution.root}/" if distribution.root else ""
    lookup = Lookup(findings.natives, target, runtime)
    natives = [
        _native(found, machine, strip, lookup)
        for found in findings.natives
        for machine in found.head.machines
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
        _gaps(findings.natives, strip, distribution.inside, catalog, lookup),
        key=lambda gap: (order[gap.severity], gap.library, gap.scope),
    )
    return Inventory(
        target, distribution, tuple(natives), tuple(gaps), tuple(checks), tuple(unreadable), runtime
    )


def _native(found: FoundNative, machine: str, strip: str, lookup: Lookup) -> Native:
    owner, elf = found.container, found.elf
    native = Native(
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
    if not elf:
        return native
    hazards = {
        "executable-stack": elf.executable_stack,
        "text-relocations": elf.text_relocations,
        "jemalloc": elf.jemalloc,
    }
    return replace(
        native,
        needed=elf.needed,
        loads=elf.loads,
        hazards=tuple(name for name, there in hazards.items() if there),
        misfit=(lookup.misfit(found) or "") if lookup.there(found) else "",
    )


def _gaps(
    natives: Sequence[FoundNative], strip: str, inside: str, catalog: Catalog, lookup: Lookup
) -> Iterable[Gap]:
    target = lookup.target
    libraries = defaultdict[tuple[str, str, str], list[FoundNative]](list)
    there = defaultdict[str, list[FoundNative]](list)
    for found in filter(for_linux, natives):
        owner = found.container
        libraries[owner.library, owner.version, owner.scope].append(found)
        if lookup.there(found):
            there[owner.scope].append(found)
    for (library, version, scope), members in libraries.items():
        override = catalog.get(library)
        place = scope.removeprefix(strip)
        asks = override.asks(target.name, lookup.runtime.libc, version) if override else ()
        if asks:
            answer = lookup.by_names(asks, there[scope], members)
        else:
            rows = [row for key, row in libraries.items() if (key[0], key[2]) == (library, scope)]
            answer = lookup.by_headers([one for row in rows for one in row])
        bad = override.known_bad(version) if override and answer.kind != "missing" else None
        if bad:
            severity, reason = bad.severity, bad.reason
        elif answer.kind:
            known = override or _kin(answer.files, catalog, lookup)
            severity, reason = _severity(known, library, place.removeprefix(f"{inside}/"), version)
            reason += f" ({answer.why})" if answer.why else ""
        else:
            continue
        damaged = sorted({one.damage for one in members if one.damage})
        yield Gap(
            library=library,
            version=version,
            scope=place,
            kind="broken" if bad else answer.kind or "missing",
            severity=severity,
            locations=tuple(sorted({one.container.location.removeprefix(strip) for one in members})),
            present=tuple(sorted({machine for one in members for machine in one.head.machines})),
            reason=reason + (f"; besides, {damaged[0]}" if damaged else ""),
        )


def _kin(found: Sequence[FoundNative], catalog: Catalog, lookup: Lookup) -> Override | None:
    """The known library of which a jar without an override holds a copy, told by the file's name."""
    kin: tuple[tuple[int, bool], Override] | None = None
    for file in {family(file_name(one)) for one in found}:
        for override in catalog.values():
            for name in override.asks(lookup.target.name, lookup.runtime.libc, ""):
                ending = family(posixpath.basename(name)).removeprefix("lib")
                rank = len(ending), family(override.library) in file
                if file.endswith(ending) and (kin is None or rank > kin[0]):
                    kin = rank, override
    return kin[1] if kin else None


def _severity(override: Override | None, library: str, scope: str, version: str) -> tuple[Severity, str]:
    judgement = override.judge(scope, version) if override else None
    if override is None or judgement is None:
        return _UNKNOWN, _UNKNOWN_REASON
    copy = "" if override.library == library else f"; judged as {override.library}, which it holds a copy of"
    return judgement.severity, f"{judgement.reason}{copy}"


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
