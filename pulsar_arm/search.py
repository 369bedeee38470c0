"""Find a remedy that the catalog lacks: walk an artifact's versions outwards from the one that has the gap.

Of each version nothing travels but the directory of its jar and the heads of a few entries; a jar that holds
a library for the target is fetched and judged, and the first against which nothing stands is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pulsar_arm.candidate import Candidate, Ground, Objection, judge
from pulsar_arm.catalog import Action, Catalog, Remedy
from pulsar_arm.classpath import ClassPath
from pulsar_arm.formats.symbols import read_symbols
from pulsar_arm.host.maven import Coordinate, NotPublished, Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.host.versions import outwards
from pulsar_arm.licence import licence_of
from pulsar_arm.linkage import libraries as held_by
from pulsar_arm.published import libraries
from pulsar_arm.scan import Gap

MOST_JUDGED = 12
"""Candidates that are fetched and refused before the search ends: farther ones are ever less the same."""
_LIBC_INSIDE = "__libc_malloc"
"""Defined by libc.so.6 alone, and by what is linked statically with glibc: two in one process clash."""
_ANY = ("*",)
_UNTOLD = "not told by its pom"


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that will not do, and why."""

    coordinate: Coordinate
    objections: tuple[Objection, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search came to."""

    library: str
    version: str
    """The one that has the gap."""
    remedy: Remedy | None
    """None when nothing will do."""
    refused: tuple[Refused, ...]
    """Those that hold a library for the target, in the order in which they were tried."""
    without: tuple[str, ...]
    """The versions that hold none."""
    unseen: int = 0
    """Versions that were not looked at, since so many nearer ones had been refused."""


@dataclass(frozen=True, slots=True)
class Search:
    """What all searches for one source share."""

    class_paths: Mapping[str, ClassPath]
    """The jars of every class path with a gap (`classpath.class_paths`)."""
    catalog: Catalog
    ground: Ground
    repository: Repository
    progress: Progress

    def find(self, group: str, artifact: str, gaps: Sequence[Gap], version: str = "") -> Outcome:
        """Look for what mends `gaps`, all of one version of a library; with `version`, judge that one only.

        NotPublished when there is no such artifact, or not in that version; InputError when a jar of the
        class paths cannot be read.
        """
        old = gaps[0]
        versions = [version] if version else self._outwards(group, artifact, old)
        refused: list[Refused] = []
        without: list[str] = []
        for number, one in enumerate(versions):
            if len(refused) == MOST_JUDGED:
                unseen = len(versions) - number
                return Outcome(old.library, old.version, None, tuple(refused), tuple(without), unseen)
            self.progress.note(f"Looking at {group}:{artifact}:{one}")
            offer = self._offer(Coordinate(group, artifact, one), old, asked=bool(version))
            if offer is None:
                without.append(one)
                continue
            action, coordinate, held = offer
            fetched = self.repository.fetch(coordinate)
            objections = self._objections(Candidate(action, coordinate, fetched.path.read_bytes()), gaps)
            if objections:
                refused.append(Refused(coordinate, objections))
                continue
            remedy = Remedy(
                scopes=_ANY,
                versions=(old.version,),
                action=action,
                coordinate=str(coordinate),
                sha256=fetched.sha256,
                licence=licence_of(coordinate, self.repository) or _UNTOLD,
                why=_why(held, gaps, refused, without),
            )
            return Outcome(old.library, old.version, remedy, tuple(refused), tuple(without))
        return Outcome(old.library, old.version, None, tuple(refused), tuple(without))

    def _outwards(self, group: str, artifact: str, old: Gap) -> list[str]:
        """The old version comes first, if it is of this artifact: its classifier jar is the nearest."""
        published = self.repository.versions(group, artifact)
        own = [old.version] if old.version in published else []
        return [*own, *outwards(published, old.version)]

    def _offer(self, main: Coordinate, old: Gap, *, asked: bool) -> tuple[Action, Coordinate, str] | None:
        """What one version has to offer, with a library in it: its jar, else the one with the classifier."""
        target = self.ground.target
        same = main.version == old.version and main.artifact == old.library
        try:
            held = () if same else libraries(main, target, self.repository)
        except NotPublished:
            if asked:
                raise
            held = ()
        if held:
            return "replace", main, held[0]
        built = replace(main, classifier=target.classifier)
        try:
            held = libraries(built, target, self.repository)
        except NotPublished:
            return None
        return ("add" if same else "replace", built, held[0]) if held else None

    def _objections(self, candidate: Candidate, gaps: Sequence[Gap]) -> tuple[Objection, ...]:
        """Those of the first class path in which something stands against it."""
        for gap in gaps:
            jars = self.class_paths[gap.scope]
            objections = judge(candidate, gap, jars, self.catalog, self.ground)
            if objections or (objections := tuple(self._doubts(candidate, gap))):
                return objections
        return ()

    def _doubts(self, candidate: Candidate, gap: Gap) -> Iterator[Objection]:
        """What speaks against a library that nobody has tried yet, though it links."""
        machine, jars = self.ground.target.name, self.class_paths[gap.scope]
        there = [(location, jars[location]) for location in gap.locations if location in jars]
        known = {content for _entry, content in held_by(there, (), machine)}
        for entry, content in held_by([(str(candidate.coordinate), candidate.content)], (), machine):
            if content in known:
                yield Objection("known-bad", entry, f"{entry} is the very file that is there already")
            if _LIBC_INSIDE in read_symbols(content).exported:
                why = f"{entry} carries a C library of its own (it defines {_LIBC_INSIDE})"
                yield Objection("system", entry, why)


def _why(held: str, gaps: Sequence[Gap], refused: Sequence[Refused], without: Sequence[str]) -> str:
    scopes = ", ".join(gap.scope for gap in gaps)
    text = f"found by its bytes: it holds {held}, and every class of {scopes} links against it"
    if without:
        text += f"; nearer versions without a library: {', '.join(without)}"
    for one in refused:
        text += f"; {one.coordinate.version} was refused: {one.objections[0]}"
    return text
