"""Make the images that were ordered out of a release: port its parts, lay out the tree, run the engine.

`pulsar` is the server on the base; `pulsar-all` is that very image with offloaders and connectors on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm import parts, report
from pulsar_arm.base_runtime import image_runtime
from pulsar_arm.base_store import Base
from pulsar_arm.candidate import Ground
from pulsar_arm.catalog import Catalog
from pulsar_arm.distribution import Source, open_source
from pulsar_arm.engines import Engine
from pulsar_arm.errors import UnresolvedGapError, UsageError
from pulsar_arm.formats.oci import Image, digest
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Wish, recipe
from pulsar_arm.patches import Patch, TextPatch, Unknown, apply, state
from pulsar_arm.plan import Plan, Unresolved, Verdict, plan
from pulsar_arm.platforms import Platform
from pulsar_arm.port import Ported, port
from pulsar_arm.proof import fetching, prove
from pulsar_arm.releases import Release
from pulsar_arm.scan import Gap, scan
from pulsar_arm.tree import Layer, Owner, addition_layer, server_layers

_CREATED = "1970-01-01T00:00:00Z"
"""Of every image: an image is as new as its content, and equal content shall have an equal digest."""
_SOURCE = "https://github.com/apache/pulsar"


@dataclass(frozen=True, slots=True)
class Order:
    """What `build` is asked for."""

    images: tuple[str, ...]
    source: str | None
    """SOURCE, or None for the distribution in the current folder, else the default release."""
    base: str
    """The name of a file in dockerfiles/bases, or the path of an image."""
    connectors: str
    """`all` or `NAME,NAME...`, for pulsar-all."""
    tag: str
    """`REPOSITORY-PREFIX[:TAG]`."""
    output: Path
    user: str
    """`UID[:GID]`."""
    engine: str = "auto"
    """A name of engines.ENGINES, or `auto`."""
    fast: bool = False
    force: bool = False
    refresh: bool = False
    mirror: str | None = None
    push: bool = False
    """To the registry that `tag` names."""
    load: bool = False
    """Into this machine's engine."""


@dataclass(frozen=True, slots=True)
class Made:
    """An image with what has to be handed over beside it."""

    name: str
    image: Image
    receipt: str
    """The receipts of its parts, as JSON; the image's label `pulsar-arm.receipt` is the digest of this."""


class Build:
    """One run of `build`: parts are ported into `work`, a folder that goes once the images are written."""

    def __init__(
        self,
        order: Order,
        release: Release,
        base: Base,
        work: Path,
        engine: Engine,
        *,
        repository: Repository,
        catalog: Catalog,
        patches: Sequence[Patch],
        target: Platform,
        cache: Path,
        progress: Progress,
    ) -> None:
        """Take what the stages need; nothing is done yet."""
        self._order = order
        self._release = release
        self._base = base
        self._work = work
        self._engine = engine
        self._repository = repository
        self._catalog = catalog
        self._patches = patches
        self._target = target
        self._cache = cache
        self._progress = progress
        self._owner = owner(order.user)
        self.ported: list[Ported] = []
        """What was ported, the server first."""

    def run(self, source: Source, plan: Plan) -> tuple[Made, ...]:
        """Port the server that `plan` is about, build on it, and give the images that were ordered."""
        server = self._port(source, plan, "server")
        made = {
            "pulsar": self._make("pulsar", self._base.name, self._base.image, self._server_layers(server))
        }
        if "pulsar-all" in self._order.images:
            layers = self._addition_layers()
            made["pulsar-all"] = self._make("pulsar-all", "pulsar", made["pulsar"].image, layers)
        return tuple(made[name] for name in self._order.images)

    def _port(self, source: Source, plan: Plan, out: str) -> Ported:
        ground = Ground(self._target, image_runtime(self._base.image, self._base.name), self._release.jre)
        bring = fetching(self._repository)
        plan = prove(plan, source, self._catalog, ground, bring, self._progress)
        require_resolved(plan, source)
        ported = port(source, plan, self._work / out, self._repository, self._progress)
        self.ported.append(ported)
        return ported

    def _server_layers(self, server: Ported) -> tuple[Layer, ...]:
        unpacked = Source("the ported server", server.path, "directory")
        inventory = scan(unpacked, self._catalog, self._target, self._progress)
        return server_layers(server.path, inventory, self._scripts(), self._release, self._owner)

    def _scripts(self) -> dict[str, bytes]:
        """The release's container scripts, patched where they break on the base's Python."""
        scripts = parts.fetch_scripts(self._release, self._repository)
        for patch in self._patches:
            if not isinstance(patch, TextPatch) or patch.file not in scripts:
                continue
            known = state(patch, scripts[patch.file])
            if isinstance(known, Unknown):
                self._progress.note(f"{patch.file} is left as released: {known.reason}")
            else:
                scripts[patch.file] = apply(patch, scripts[patch.file])
        return scripts

    def _addition_layers(self) -> tuple[Layer, ...]:
        """Offloaders and connectors, scanned and ported like the server."""
        version = self._release.version
        offloaders: dict[str, Path] = {}
        tarball = parts.fetch_offloaders(version, self._repository, self._progress)
        if tarball is not None:
            unpacked = self._addition(f"offloaders {version}", tarball, "offloaders").path / "offloaders"
            offloaders = {f"offloaders/{nar.name}": nar for nar in sorted(unpacked.glob("*.nar"))}
        names = parts.choose_connectors(self._order.connectors, version, self._repository)
        nars = parts.fetch_connectors(names, version, self._repository, self._progress)
        connectors = {
            f"connectors/{name}": self._addition(name, path, f"connectors/{name}").path
            for name, path in nars.items()
        }
        additions = (("offloaders", offloaders), ("connectors", connectors))
        return tuple(
            addition_layer(name, files, self._release, self._owner) for name, files in additions if files
        )

    def _addition(self, name: str, path: Path, out: str) -> Ported:
        source = open_source(name, path)
        found = scan(source, self._catalog, self._target, self._progress)
        return self._port(source, plan(found, self._catalog, self._patches), out)

    def _make(self, name: str, parent_name: str, parent: Image, layers: tuple[Layer, ...]) -> Made:
        receipt = report.dump(report.receipts_json(self.ported))
        version, source = self._release.version, self.ported[0].plan.inventory.distribution.sha256
        labels = (
            ("org.opencontainers.image.title", name),
            ("org.opencontainers.image.description", f"Apache Pulsar {version} for {self._target.name}"),
            ("org.opencontainers.image.version", version),
            ("org.opencontainers.image.source", _SOURCE),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
            ("org.opencontainers.image.base.digest", parent.digest),
            *((("pulsar-arm.distribution", f"sha256:{source}"),) if source else ()),
            ("pulsar-arm.receipt", digest(receipt.encode())),
        )
        environment = self._release.environment
        user = self._order.user
        wish = Wish(name, version, self._target, parent_name, parent, layers, labels, environment, user)
        blobs = self._work / "blobs"
        blobs.mkdir(exist_ok=True)
        image = self._engine.build(
            recipe(wish, _CREATED),
            blobs,
            fast=self._order.fast,
            progress=self._progress,
            cache=self._cache / "paths",
        )
        return Made(name, image, receipt)


def require_resolved(plan: Plan, source: Source) -> None:
    """UnresolvedGapError when a fatal or feature gap has no remedy: nothing may be written then."""
    if not plan.blocking:
        return
    more = f" (and {len(plan.blocking) - 1} more)" if len(plan.blocking) > 1 else ""
    raise UnresolvedGapError(f"{source.name}: {blocker(plan.blocking[0])}{more}.")


def blocker(verdict: Verdict) -> str:
    """A verdict that holds a port back, as a sentence without its end."""
    subject = verdict.subject
    if isinstance(subject, Gap):
        gap = f"{subject.severity} gap of {subject.library} {subject.version} in {subject.scope}"
    else:
        gap = f"{subject.severity} check {subject.class_name} in {subject.location}"
    why = verdict.outcome.reason if isinstance(verdict.outcome, Unresolved) else ""
    return f"nothing resolves the {gap}: {why}"


def owner(user: str) -> Owner:
    """The numbers of `UID[:GID]`; UsageError for anything else."""
    uid, _colon, gid = user.partition(":")
    if not uid.isdecimal() or not (gid or "0").isdecimal():
        raise UsageError(f"--user {user} is not UID or UID:GID in numbers.")
    return Owner(int(uid), int(gid or "0"))
