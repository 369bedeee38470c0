"""Mend what the catalog does not: choose the gaps of a source, search for each, and widen the catalog."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pulsar_arm.candidate import Ground
from pulsar_arm.catalog import Catalog, Override, Remedy
from pulsar_arm.classpath import ClassPath, class_paths
from pulsar_arm.distribution import Source
from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.fitness import ANY_GLIBC, Runtime
from pulsar_arm.formats.zip import in_memory
from pulsar_arm.host.maven import Coordinate, NotPublished, Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.identity import identity
from pulsar_arm.patches import Patch
from pulsar_arm.plan import Plan, Unresolved, plan
from pulsar_arm.platforms import Platform
from pulsar_arm.proof import fetching, jre_of, prove
from pulsar_arm.scan import Gap, Inventory, scan
from pulsar_arm.search import Outcome, Search


@dataclass(frozen=True, slots=True)
class Resolver:
    """Finds and brings what mends a source."""

    repository: Repository
    catalog: Catalog
    patches: Sequence[Patch]
    target: Platform
    progress: Progress

    def fetch(self, source: Source) -> tuple[Path, ...]:
        """Bring the jars that a port of `source` may bring in; their paths in the cache."""
        gaps = scan(source, self.catalog, self.target, self.progress).gaps
        return tuple(
            self.repository.fetch(Coordinate.parse(remedy.coordinate), sha256=remedy.sha256).path
            for remedy in _remedies(gaps, self.catalog)
        )

    def search(
        self, source: Source, group: str, artifact: str, version: str, library: str
    ) -> tuple[tuple[Outcome, ...], tuple[Gap, ...]]:
        """Look for what mends a library of `source`, for each version that is there; also its gaps.

        Without a `version` the nearest one is looked for, with one that one is judged.
        """
        inventory = scan(source, self.catalog, self.target, self.progress)
        alike = _gaps_of(inventory, library)
        gaps = tuple(gap for gaps in alike for gap in gaps)
        search = self._search(source, inventory, gaps)
        return tuple(search.find(group, artifact, one, version) for one in alike), gaps

    def resolve(
        self, source: Source, known: Plan, runtime: Runtime = ANY_GLIBC, *, graft: bool = False
    ) -> Plan:
        """The plan with what can be found for the gaps that the catalog leaves; what is found is said."""
        gaps = _unresolved(known)
        if not gaps:
            return known
        search = self._search(source, known.inventory, gaps, runtime)
        outcomes = tuple(_found(gaps, search))
        for one in outcomes:
            told = f"found {one.remedy.coordinate}, {one.remedy.why}" if one.remedy else "nothing was found"
            self.progress.note(f"{one.library} {one.version} is not in the catalog: {told}.")
        if not any(one.remedy for one in outcomes):
            return known
        wider = _widened(self.catalog, outcomes)
        again = plan(known.inventory, wider, self.patches, libc=runtime.libc, graft=graft)
        bring = fetching(self.repository)
        return prove(again, source, wider, search.ground, bring, self.progress, graft=graft)

    def _search(
        self, source: Source, inventory: Inventory, gaps: Sequence[Gap], runtime: Runtime = ANY_GLIBC
    ) -> Search:
        root = inventory.distribution.root
        paths = class_paths(source, root, {gap.scope for gap in gaps})
        ground = Ground(self.target, runtime, jre_of(inventory.distribution))
        return Search(paths, self.catalog, ground, self.repository, self.progress)


def _gaps_of(inventory: Inventory, library: str) -> tuple[tuple[Gap, ...], ...]:
    """The gaps of a library, those of one version together.

    Of a library that is there for the target everywhere, what is there stands as if it were a gap: whoever
    looks for another version knows why. UsageError when the source has none of it.
    """
    gaps = [gap for gap in inventory.gaps if gap.library == library] or list(_present(inventory, library))
    if not gaps:
        lacking = ", ".join(sorted({gap.library for gap in inventory.gaps})) or "nothing"
        raise UsageError(
            f"{inventory.distribution.source} holds no {library} with natives: name what shall be "
            f"mended with --library; what lacks {inventory.target.name} there: {lacking}."
        )
    return tuple(_by_version(gaps))


def _by_version(gaps: Iterable[Gap]) -> list[tuple[Gap, ...]]:
    """Gaps of one version of one library together, in the order of the first of each."""
    groups = defaultdict[tuple[str, str], list[Gap]](list)
    for gap in gaps:
        groups[gap.library, gap.version].append(gap)
    return [tuple(group) for group in groups.values()]


def _present(inventory: Inventory, library: str) -> Iterable[Gap]:
    places = defaultdict[tuple[str, str], set[str]](set)
    for native in inventory.libraries:
        jar, inside, _entry = native.location.rpartition("!/")
        if native.library == library and inside:
            places[native.version, native.scope].add(jar)
    for (version, scope), jars in places.items():
        reason = "it is there for the target, and another version was asked for"
        yield Gap(library, version, scope, "broken", "harmless", tuple(sorted(jars)), (), reason)


def _remedies(gaps: Sequence[Gap], catalog: Catalog) -> tuple[Remedy, ...]:
    """All jars that a port may bring in for these gaps, each once; also those behind a refused one."""
    return tuple(
        dict.fromkeys(
            remedy
            for gap in gaps
            if (override := catalog.get(gap.library))
            for remedy in override.remedies_for(gap.scope, gap.version)
            if remedy.coordinate and not remedy.opt_in
        )
    )


def _unresolved(plan: Plan) -> tuple[Gap, ...]:
    """The gaps that nothing resolves or tolerates."""
    return tuple(
        one.subject
        for one in plan.verdicts
        if isinstance(one.outcome, Unresolved) and isinstance(one.subject, Gap)
    )


def _found(gaps: Sequence[Gap], search: Search) -> Iterator[Outcome]:
    """Search for what mends each of these gaps, under the name that its own jar tells."""
    for alike in _by_version(gaps):
        first = alike[0]
        group = _group(first, search.class_paths)
        if not group:
            search.progress.note(f"{first.locations[0]} tells no Maven group: nothing can be looked for.")
            continue
        try:
            yield search.find(group, first.library, alike)
        except NotPublished as error:
            search.progress.note(f"{first.library} {first.version}: {error}")


def _group(gap: Gap, class_paths: Mapping[str, ClassPath]) -> str:
    location = gap.locations[0]
    content = class_paths.get(gap.scope, {}).get(location)
    if content is None:
        return ""  # a loose file
    try:
        jar = in_memory(content)
        return identity(jar, list(jar.entries(".class")), posixpath.basename(location)).group
    except InputError:
        return ""


def _widened(catalog: Catalog, outcomes: Sequence[Outcome]) -> Catalog:
    """The catalog with what was found before all that it has for the same library."""
    wider = dict(catalog)
    for outcome in outcomes:
        if outcome.remedy:
            wider[outcome.library] = _with(wider.get(outcome.library), outcome.library, outcome.remedy)
    return wider


def _with(known: Override | None, library: str, remedy: Remedy) -> Override:
    known = known or Override(library, Path(f"{library}.toml"), library, (), (), (), ())
    return replace(known, remedies=(remedy, *known.remedies))
