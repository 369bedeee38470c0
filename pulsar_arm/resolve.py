"""Mend what the catalog does not: choose the gaps of a source, search for each, and widen the catalog."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pulsar_arm.catalog import Catalog, Override, Remedy
from pulsar_arm.classpath import ClassPath
from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.formats.zip import in_memory
from pulsar_arm.host.maven import NotPublished
from pulsar_arm.identity import identity
from pulsar_arm.plan import Plan, Unresolved
from pulsar_arm.scan import Gap, Inventory
from pulsar_arm.search import Outcome, Search


def gaps_of(inventory: Inventory, library: str) -> tuple[tuple[Gap, ...], ...]:
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
    return tuple(by_version(gaps))


def by_version(gaps: Iterable[Gap]) -> list[tuple[Gap, ...]]:
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


def unresolved(plan: Plan) -> tuple[Gap, ...]:
    """The gaps that nothing resolves or tolerates."""
    return tuple(
        one.subject
        for one in plan.verdicts
        if isinstance(one.outcome, Unresolved) and isinstance(one.subject, Gap)
    )


def resolve(gaps: Sequence[Gap], search: Search) -> tuple[Outcome, ...]:
    """Search for what mends each of these gaps, under the name that its own jar tells."""
    found = []
    for alike in by_version(gaps):
        first = alike[0]
        group = _group(first, search.class_paths)
        if not group:
            search.progress.note(f"{first.locations[0]} tells no Maven group: nothing can be looked for.")
            continue
        try:
            found.append(search.find(group, first.library, alike))
        except NotPublished as error:
            search.progress.note(f"{first.library} {first.version}: {error}")
    return tuple(found)


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


def widened(catalog: Catalog, outcomes: Sequence[Outcome]) -> Catalog:
    """The catalog with what was found before all that it has for the same library."""
    wider = dict(catalog)
    for outcome in outcomes:
        if outcome.remedy:
            wider[outcome.library] = _with(wider.get(outcome.library), outcome.library, outcome.remedy)
    return wider


def _with(known: Override | None, library: str, remedy: Remedy) -> Override:
    known = known or Override(library, Path(f"{library}.toml"), library, (), (), (), ())
    return replace(known, remedies=(remedy, *known.remedies))
