"""May this jar mend that gap? All that can be known of it before it runs, as objections; none is a yes.

    jars = class_paths(source, plan.inventory.distribution.root, {gap.scope})[gap.scope]
    objections = judge(Candidate("replace", coordinate, content), gap, jars, catalog, Ground(target))

What is looked at: is the version known to be bad; can its place be changed at all; does it link against
every class of the class path; has every native method its function; does its loader ask for the file
that is there; are its classes within the JRE; does the library load on the system.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pulsar_arm.catalog import Action, Catalog
from pulsar_arm.classpath import Jar
from pulsar_arm.errors import InputError
from pulsar_arm.fitness import ANY_GLIBC, Runtime, misfit
from pulsar_arm.formats.elf import read_elf
from pulsar_arm.formats.jar import is_signed, put_entry
from pulsar_arm.host.maven import Coordinate
from pulsar_arm.linkage import LinkReport, libraries, link
from pulsar_arm.platforms import Platform
from pulsar_arm.scan import Gap


@dataclass(frozen=True, slots=True)
class Ground:
    """What the ported classes and libraries will run on."""

    target: Platform
    runtime: Runtime = ANY_GLIBC
    jre: int | None = None
    """Java release: 8, 17; None where nothing tells it, and then the old jar's classes do."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A jar that is offered as a remedy, and how it would be used."""

    action: Action
    """`graft` takes nothing but the library out of it, and puts that into the old jar."""
    coordinate: Coordinate
    content: bytes


@dataclass(frozen=True, slots=True)
class Objection:
    """One thing that stands against a candidate."""

    kind: Literal["known-bad", "place", "loader", "link", "native", "jre", "system"]
    subject: str
    """The version, file, member or class that is wrong."""
    reason: str
    """A sentence without its end, with the caller where there is one."""

    def __str__(self) -> str:
        """The reason."""
        return self.reason


def judge(
    candidate: Candidate, gap: Gap, jars: Mapping[str, bytes], catalog: Catalog, ground: Ground
) -> tuple[Objection, ...]:
    """What stands against a candidate, the weightiest first.

    `jars` is the class path of the gap (`classpath.class_paths`), as it will be but for this candidate.
    InputError where one of them, or the candidate, cannot be read.
    """
    return tuple(_objections(candidate, gap, jars, catalog, ground))


def graft_entries(
    candidate: Candidate, gap: Gap, catalog: Catalog, ground: Ground
) -> tuple[str, bytes] | Objection:
    """What a graft puts into the old jar: the name that the old loader asks for, and the library."""
    theirs = _asks(candidate.coordinate.artifact, candidate.coordinate.version, gap, catalog, ground)
    ours = _asks(gap.library, gap.version, gap, catalog, ground)
    if not ours:
        why = f"{gap.library} has no names in the catalog that its loader asks for"
        return Objection("loader", gap.library, why)
    found = next(
        libraries([(str(candidate.coordinate), candidate.content)], theirs, ground.target.name), None
    )
    if found is None:
        why = f"{candidate.coordinate} holds no {theirs[0]} for {ground.target.name}"
        return Objection("loader", theirs[0], why)
    return ours[0], found[1]


def _objections(
    candidate: Candidate, gap: Gap, jars: Mapping[str, bytes], catalog: Catalog, ground: Ground
) -> Iterator[Objection]:
    version, artifact = candidate.coordinate.version, candidate.coordinate.artifact
    override = catalog.get(artifact) or catalog.get(gap.library)
    if bad := override.known_bad(version) if override else None:
        yield Objection("known-bad", version, f"{artifact} {version} is known to be bad: {bad.reason}")
    changed = gap.locations if candidate.action == "replace" else gap.locations[:1]
    if absent := [location for location in changed if location not in jars]:
        yield Objection("place", absent[0], f"{absent[0]} is no jar of the class path {gap.scope}")
        return
    for location in changed:
        container = location.rpartition("!/")[0]
        if container in jars and is_signed(jars[container]):
            why = f"{container} is signed, and Java would refuse it once {location} is another"
            yield Objection("place", container, why)
    old = [(location, jars[location]) for location in changed]
    asks = _asks(gap.library, gap.version, gap, catalog, ground)
    if candidate.action == "replace":
        new: Sequence[Jar] = [(str(candidate.coordinate), candidate.content)]
        asks = _asks(artifact, version, gap, catalog, ground)
    elif candidate.action == "add":
        new = [*old, (str(candidate.coordinate), candidate.content)]
    else:
        graft = graft_entries(candidate, gap, catalog, ground)
        if isinstance(graft, Objection):
            yield graft
            return
        try:
            new = [(old[0][0], put_entry(old[0][1], *graft))]
        except InputError as error:
            yield Objection("place", old[0][0], f"{old[0][0]} cannot be changed: {error}")
            return
    beside = [jar for jar in jars.items() if jar[0] not in changed]
    machine = ground.target.name
    report = link(lambda: beside, old, new, asks=asks, machine=machine, jre=ground.jre)
    yield from _of_report(report, new, asks, machine)
    yield from _of_system(new, asks, ground)


def _asks(library: str, version: str, gap: Gap, catalog: Catalog, ground: Ground) -> tuple[str, ...]:
    """The names a loader asks for; a jar of another name than the library's may have its own override."""
    override = catalog.get(library) or catalog.get(gap.library)
    return override.asks(ground.target.name, ground.runtime.libc, version) if override else ()


def _of_report(
    report: LinkReport, new: Sequence[Jar], asks: Sequence[str], machine: str
) -> Iterator[Objection]:
    if not report.library:
        held = next((entry for entry, _content in libraries(new, (), machine)), "")
        wanted = f"{asks[0]}, for which its loader asks" if asks else f"a library for {machine}"
        yield Objection(
            "loader", asks[0] if asks else "", f"it lacks {wanted}" + (f" (it holds {held})" if held else "")
        )
    for missing in report.missing:
        yield Objection("link", missing.member, str(missing))
    for method in report.rejected:
        yield Objection("native", method, f"its library registers {method}, which no class declares")
    for method in report.unbound:
        yield Objection("native", method, f"no function stands for the native method {method}")
    for one in report.too_new:
        yield Objection("jre", one, f"the JRE is too old for {one}")


def _of_system(new: Sequence[Jar], asks: Sequence[str], ground: Ground) -> Iterator[Objection]:
    """Of several libraries that the loader may take, one has to fit."""
    found = list(libraries(new, asks, ground.target.name))
    structures = [(entry, read_elf(content)) for entry, content in found]
    beside = {elf.soname or entry.rpartition("/")[2] for entry, elf in structures}
    misfits = [(entry, misfit(elf, ground.runtime, beside)) for entry, elf in structures]
    if misfits and all(why for _entry, why in misfits):
        entry, why = misfits[0]
        yield Objection("system", entry, f"{entry} {why}")
