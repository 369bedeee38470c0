"""Decide, for every gap and check, what will be done about it; nothing is touched (this is the dry run)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pulsar_arm.catalog import Catalog, Remedy
from pulsar_arm.formats.coordinate import Coordinate
from pulsar_arm.patches import ClassPatch, Patch
from pulsar_arm.platforms import Platform
from pulsar_arm.scan import Gap, Inventory, PlatformCheck

BLOCKING = ("fatal", "feature")
"""Severities that must be resolved or tolerated before anything is written."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Put another jar in the place, and under the name, of one that stands on the class path."""

    location: str
    coordinate: str
    sha256: str
    """Of the replacement; checked when it is fetched."""
    licence: str
    why: str


@dataclass(frozen=True, slots=True)
class Add:
    """Put another jar beside one that stands on the class path: the library's build for the target."""

    location: str
    """Where it will lie: in the folder of the jar it serves, named as the jars there are."""
    beside: str
    """The jar it serves."""
    coordinate: str
    sha256: str
    licence: str
    why: str


@dataclass(frozen=True, slots=True)
class Graft:
    """Put nothing but the library of another version's jar into the old one, whose classes stay."""

    location: str
    entry: str
    """The name it gets there: the one that the old loader asks for."""
    takes: tuple[str, ...]
    """Its name in the jar it comes from; the first that is there."""
    coordinate: str
    sha256: str
    """Of the jar it comes from."""
    licence: str
    why: str


@dataclass(frozen=True, slots=True)
class PatchClass:
    """Change one class in a jar."""

    location: str
    entry: str
    patch: ClassPatch


Action = Replace | Add | Graft | PatchClass


@dataclass(frozen=True, slots=True)
class Resolved:
    """Mended by these actions."""

    actions: tuple[Action, ...]
    linked: bool = False
    """Whether what is brought in was judged against the class path, and nothing stood against it."""


@dataclass(frozen=True, slots=True)
class Tolerated:
    """Left as it is, for a reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Nothing is known against it."""

    reason: str


Outcome = Resolved | Tolerated | Unresolved


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one gap or check."""

    subject: Gap | PlatformCheck
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Plan:
    """All verdicts on one source."""

    inventory: Inventory
    verdicts: tuple[Verdict, ...]

    @property
    def actions(self) -> tuple[Action, ...]:
        """Everything that will be changed, in the order of the verdicts."""
        resolved = [one.outcome for one in self.verdicts if isinstance(one.outcome, Resolved)]
        return tuple(action for outcome in resolved for action in outcome.actions)

    @property
    def blocking(self) -> tuple[Verdict, ...]:
        """Unresolved verdicts that matter: a port with one of them would fail its users."""
        return tuple(
            one
            for one in self.verdicts
            if isinstance(one.outcome, Unresolved) and one.subject.severity in BLOCKING
        )


def plan(
    inventory: Inventory,
    catalog: Catalog,
    patches: Sequence[Patch],
    *,
    libc: str = "glibc",
    graft: bool = False,
) -> Plan:
    """A verdict for every gap and check of an inventory; pure, so nothing that is brought in was judged yet.

    With `graft` the remedies are taken too that no run has proven (`Remedy.opt_in`).
    """
    verdicts = [
        Verdict(gap, _preferred(gap, inventory.target, catalog, libc, graft)) for gap in inventory.gaps
    ]
    verdicts += [Verdict(check, _patch(check, patches)) for check in inventory.checks]
    return Plan(inventory, tuple(verdicts))


def outcomes(
    gap: Gap, target: Platform, catalog: Catalog, *, libc: str = "glibc", graft: bool = False
) -> Iterator[tuple[Remedy, Outcome]]:
    """What each remedy of the catalog that fits a gap would make of it, the preferred first."""
    override = catalog.get(gap.library)
    for remedy in override.remedies_for(gap.scope, gap.version) if override else ():
        if graft or not remedy.opt_in:
            yield remedy, _mend(gap, remedy, target, catalog, libc)


def _preferred(gap: Gap, target: Platform, catalog: Catalog, libc: str, graft: bool) -> Outcome:
    found = outcomes(gap, target, catalog, libc=libc, graft=graft)
    return next((outcome for _remedy, outcome in found), nothing_known(gap, catalog))


def nothing_known(gap: Gap, catalog: Catalog) -> Unresolved:
    """Where no remedy fits."""
    override = catalog.get(gap.library)
    if override is None:
        return Unresolved(f"jar_overrides has no file for {gap.library}")
    where = f"version {gap.version or '(unknown)'} in {gap.scope}"
    return Unresolved(f"{override.path.name} has no remedy for {where}")


def _mend(gap: Gap, remedy: Remedy, target: Platform, catalog: Catalog, libc: str) -> Outcome:
    brought = (remedy.coordinate, remedy.sha256, remedy.licence, remedy.why)
    match remedy.action:
        case "tolerate":
            return Tolerated(remedy.why)
        case "add":
            return _add(gap.locations[0], remedy)
        case "graft":
            coordinate = Coordinate.parse(remedy.coordinate)
            own = catalog[gap.library].asks(target.name, libc, gap.version)
            giver = catalog.get(coordinate.artifact, catalog[gap.library])
            takes = giver.asks(target.name, libc, coordinate.version)
            if not own or not takes:
                return Unresolved(f"{gap.library} has no [[loader]] for {target.name} and {libc}")
            return Resolved((Graft(gap.locations[0], own[0], takes, *brought),))
        case "replace":
            return Resolved(tuple(Replace(location, *brought) for location in gap.locations))


def _add(beside: str, remedy: Remedy) -> Resolved | Unresolved:
    """Jars in `lib` have their group before the artifact, those of plugins and NARs do not."""
    folder, slash, name = beside.rpartition("/")
    if not slash:
        return Unresolved(f"{remedy.coordinate} belongs beside it, where a single jar has no room for it")
    coordinate = Coordinate.parse(remedy.coordinate)
    prefix, artifact, _rest = name.partition(f"{coordinate.artifact}-{coordinate.version}")
    location = f"{folder}/{prefix if artifact else ''}{coordinate.file}"
    return Resolved((Add(location, beside, remedy.coordinate, remedy.sha256, remedy.licence, remedy.why),))


def _patch(check: PlatformCheck, patches: Sequence[Patch]) -> Resolved | Unresolved:
    known = [one for one in patches if isinstance(one, ClassPatch) and one.class_name == check.class_name]
    for patch in known:
        if any(check.sha256 == revision.accepts for revision in patch.revisions):
            return Resolved((PatchClass(check.location, check.entry, patch),))
    if known:
        return Unresolved(f"no patch knows the bytes of this class (SHA-256 {check.sha256})")
    return Unresolved(f"patches has no file for {check.class_name}")
