"""Hold a plan against the distribution it is for: what is brought in must link, load and fit there.

A plan is made from the catalog alone. Here each jar it would bring in is judged in its class path, those
that were accepted before it in their places; the first remedy of the catalog that meets no objection is
taken. What none mends becomes unresolved, with the caller and the member, file or symbol version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pulsar_arm.candidate import Candidate, Ground, Objection, judge
from pulsar_arm.catalog import Catalog, Remedy
from pulsar_arm.classpath import ClassPath, class_paths
from pulsar_arm.distribution import Distribution, Source
from pulsar_arm.errors import HostError, UsageError
from pulsar_arm.formats.jar import put_entry
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.linkage import libraries
from pulsar_arm.plan import (
    Add,
    Graft,
    Outcome,
    Plan,
    Replace,
    Resolved,
    Tolerated,
    Unresolved,
    Verdict,
    outcomes,
)
from pulsar_arm.releases import release
from pulsar_arm.scan import Gap

Bring = Callable[[Remedy], bytes | None]
"""Gives the jar of a remedy, or None where it is not here and shall not be fetched."""


def fetching(repository: Repository) -> Bring:
    """Jars from the repository; HostError where one cannot be had."""

    def bring(remedy: Remedy) -> bytes:
        coordinate = Coordinate.parse(remedy.coordinate)
        return repository.fetch(coordinate, sha256=remedy.sha256).path.read_bytes()

    return bring


def cached(offline: Repository) -> Bring:
    """Jars that an offline repository has in its cache."""
    fetch = fetching(offline)

    def bring(remedy: Remedy) -> bytes | None:
        try:
            return fetch(remedy)
        except HostError:
            return None

    return bring


def jre_of(distribution: Distribution) -> int | None:
    """The Java release that a part of Pulsar runs on; None where nothing tells it."""
    if distribution.kind not in ("pulsar", "offloaders", "connector"):
        return None
    try:
        return release(distribution.version).jre
    except UsageError:
        return None


def prove(
    plan: Plan,
    source: Source,
    catalog: Catalog,
    ground: Ground,
    bring: Bring,
    progress: Progress,
    *,
    graft: bool = False,
) -> Plan:
    """The same plan, with every verdict judged that brings something in and was not judged before.

    A verdict whose jar is not at hand stays as it is, not `linked`. InputError where the source, or what is
    brought in, cannot be read.
    """
    waiting = [one for one in plan.verdicts if _brings(one)]
    if not waiting or plan.inventory.unreadable:
        return plan
    scopes = {one.subject.scope for one in waiting if isinstance(one.subject, Gap)}
    with progress.task(f"Linking what goes into {source.name}", None):
        paths = class_paths(source, plan.inventory.distribution.root, scopes)
        proof = _Proof(catalog, ground, bring, graft, paths)
        return replace(plan, verdicts=tuple(map(proof.of, plan.verdicts)))


def _brings(verdict: Verdict) -> bool:
    outcome = verdict.outcome
    return isinstance(verdict.subject, Gap) and isinstance(outcome, Resolved) and not outcome.linked


class _Proof:
    """One pass over the verdicts; the class paths change with each that is accepted."""

    def __init__(
        self, catalog: Catalog, ground: Ground, bring: Bring, graft: bool, paths: dict[str, ClassPath]
    ) -> None:
        self._catalog = catalog
        self._ground = ground
        self._bring = bring
        self._graft = graft
        self._paths = paths

    def of(self, verdict: Verdict) -> Verdict:
        if not isinstance(verdict.subject, Gap) or not _brings(verdict):
            return verdict
        return replace(verdict, outcome=self._outcome(verdict.subject))

    def _outcome(self, gap: Gap) -> Outcome:
        refused = list[str]()
        libc = self._ground.runtime.libc
        for remedy, outcome in outcomes(
            gap, self._ground.target, self._catalog, libc=libc, graft=self._graft
        ):
            match outcome:
                case Tolerated(why):
                    return Tolerated("; ".join([why, *refused]))
                case Unresolved(why):
                    refused.append(why)
                case Resolved():
                    content = self._bring(remedy)
                    if content is None:
                        return outcome
                    objections = self._judge(remedy, gap, content)
                    if not objections:
                        self._accept(outcome, content, self._paths[gap.scope])
                        return replace(outcome, linked=True)
                    refused.append(_refusal(remedy, objections))
        return Unresolved("; ".join(refused))

    def _judge(self, remedy: Remedy, gap: Gap, content: bytes) -> tuple[Objection, ...]:
        candidate = Candidate(remedy.action, Coordinate.parse(remedy.coordinate), content)
        return judge(candidate, gap, self._paths[gap.scope], self._catalog, self._ground)

    def _accept(self, outcome: Resolved, content: bytes, jars: ClassPath) -> None:
        """What is judged after this meets the jars as they will be."""
        for action in outcome.actions:
            match action:
                case Replace() | Add():
                    jars[action.location] = content
                case Graft():
                    taken = graft_library(action, content, self._ground.target.name)
                    jars[action.location] = put_entry(jars[action.location], action.entry, taken)


def graft_library(action: Graft, content: bytes, machine: str) -> bytes:
    """The library that a graft takes out of the jar that is brought in, which `prove` saw there."""
    return next(taken for _entry, taken in libraries([(action.coordinate, content)], action.takes, machine))


def _refusal(remedy: Remedy, objections: tuple[Objection, ...]) -> str:
    more = f" (and {len(objections) - 1} more)" if len(objections) > 1 else ""
    return f"{remedy.coordinate} was refused: {objections[0]}{more}"
