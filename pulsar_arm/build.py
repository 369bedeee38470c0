"""Make the images that were ordered out of a release: port its parts, lay out the tree, run the engine.

`pulsar` is the server on the base; `pulsar-all` is that very image with offloaders and connectors on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pulsar_arm import parts, report
from pulsar_arm.authorities import authority_layer
from pulsar_arm.base_store import Base
from pulsar_arm.candidate import Ground
from pulsar_arm.catalog import Catalog
from pulsar_arm.distribution import Source, open_source
from pulsar_arm.engines import Engine
from pulsar_arm.errors import UnresolvedGapError, UsageError
from pulsar_arm.fitness import named_runtime
from pulsar_arm.formats.oci import Image, digest
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Recipe, Wish, recipe
from pulsar_arm.patches import Patch, TextPatch, Unknown, apply, state
from pulsar_arm.plan import Plan, Unresolved, Verdict, plan
from pulsar_arm.platforms import AARCH64, Platform
from pulsar_arm.port import Ported, port
from pulsar_arm.proof import fetching, prove
from pulsar_arm.releases import Release
from pulsar_arm.reports.layers import LayerRow, Part, layer_rows, part
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
    user: str
    """`UID[:GID]`."""
    platforms: tuple[Platform, ...] = (AARCH64,)
    """Each gives an image; several make one index."""
    output: Path = Path()
    """The folder for what is made."""
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
    labels: tuple[tuple[str, str], ...] = ()
    """The user's own, which go before ours."""
    authorities: tuple[bytes, ...] = ()
    """Certificates (DER) that the images shall trust beside those of the base."""


@dataclass(frozen=True, slots=True)
class Made:
    """An image with what has to be handed over beside it."""

    name: str
    image: Image
    receipt: str
    """The receipts of its parts, as JSON; the image's label `pulsar-arm.receipt` is the digest of this."""
    layers: tuple[LayerRow, ...]
    """What each of its layers holds and weighs."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image that is ready to be built."""

    recipe: Recipe
    """Without its parent's image when that is still to be built."""
    receipt: str
    """The receipts of its parts, as JSON; the image's label `pulsar-arm.receipt` is the digest of this."""


@dataclass(frozen=True, slots=True)
class Build:
    """One run of `build` for one platform."""

    order: Order
    release: Release
    base: Base
    work: Path
    """Where parts are ported to: a folder that goes once the images are written."""
    engine: Engine
    repository: Repository
    catalog: Catalog
    patches: Sequence[Patch]
    target: Platform
    cache: Path
    progress: Progress
    ported: list[Ported] = field(default_factory=list)
    """What was ported, the server first."""

    def run(self, source: Source, plan: Plan) -> tuple[Made, ...]:
        """Port the server that `plan` is about, build on it, and give the images that were ordered."""
        built: dict[str, Image] = {}
        made: dict[str, Made] = {}
        held: list[Part] = []
        for prepared in self._prepare(source, plan, built):
            name, blobs = prepared.recipe.name, self.work / "blobs"
            blobs.mkdir(parents=True, exist_ok=True)
            built[name] = self.engine.build(
                prepared.recipe,
                blobs,
                fast=self.order.fast,
                progress=self.progress,
                cache=self.cache / "paths",
            )
            held += [part(tar.removesuffix(".tar"), one) for tar, one in prepared.recipe.context.items()]
            rows = layer_rows(built[name], self.base.name, held)
            made[name] = Made(name, built[name], prepared.receipt, rows)
        return tuple(made[name] for name in self.order.images)

    def prepare(self, source: Source, plan: Plan) -> tuple[Prepared, ...]:
        """The same without an engine: `pulsar`, and `pulsar-all` if it is ordered, ready to be built."""
        return tuple(self._prepare(source, plan, {}))

    def _prepare(self, source: Source, plan: Plan, built: Mapping[str, Image]) -> Iterator[Prepared]:
        """One image after the other; a parent that stands in `built` by then is told to its child."""
        server = self._port(source, plan, "server")
        layers = (*self._authority_layers(), *self._server_layers(server))
        yield self._prepared("pulsar", _stage(self.base.name), self.base.image, layers)
        if "pulsar-all" in self.order.images:
            yield self._prepared("pulsar-all", "pulsar", built.get("pulsar"), self._addition_layers())

    def _port(self, source: Source, plan: Plan, out: str) -> Ported:
        ground = Ground(self.target, named_runtime(self.base.libc), self.release.jre)
        bring = fetching(self.repository)
        plan = prove(plan, source, self.catalog, ground, bring, self.progress)
        require_resolved(plan, source)
        ported = port(source, plan, self.work / out, self.repository, self.progress)
        self.ported.append(ported)
        return ported

    def _authority_layers(self) -> tuple[Layer, ...]:
        if not self.order.authorities:
            return ()
        return (authority_layer(self.base.image, self.base.java_home, self.order.authorities),)

    def _server_layers(self, server: Ported) -> tuple[Layer, ...]:
        unpacked = Source("the ported server", server.path, "directory")
        inventory = scan(unpacked, self.catalog, self.target, self.progress)
        return server_layers(server.path, inventory, self._scripts(), self.release, owner(self.order.user))

    def _scripts(self) -> dict[str, bytes]:
        """The release's container scripts, patched where they break on the base's Python."""
        scripts = parts.fetch_scripts(self.release, self.repository)
        for patch in self.patches:
            if not isinstance(patch, TextPatch) or patch.file not in scripts:
                continue
            known = state(patch, scripts[patch.file])
            if isinstance(known, Unknown):
                self.progress.note(f"{patch.file} is left as released: {known.reason}")
            else:
                scripts[patch.file] = apply(patch, scripts[patch.file])
        return scripts

    def _addition_layers(self) -> tuple[Layer, ...]:
        """Offloaders and connectors, scanned and ported like the server."""
        version = self.release.version
        offloaders: dict[str, Path] = {}
        tarball = parts.fetch_offloaders(version, self.repository, self.progress)
        if tarball is not None:
            unpacked = self._addition(f"offloaders {version}", tarball, "offloaders").path / "offloaders"
            offloaders = {f"offloaders/{nar.name}": nar for nar in sorted(unpacked.glob("*.nar"))}
        names = parts.choose_connectors(self.order.connectors, version, self.repository)
        nars = parts.fetch_connectors(names, version, self.repository, self.progress)
        connectors = {
            f"connectors/{name}": self._addition(name, path, f"connectors/{name}").path
            for name, path in nars.items()
        }
        additions = (("offloaders", offloaders), ("connectors", connectors))
        return tuple(
            addition_layer(name, files, self.release, owner(self.order.user))
            for name, files in additions
            if files
        )

    def _addition(self, name: str, path: Path, out: str) -> Ported:
        source = open_source(name, path)
        found = scan(source, self.catalog, self.target, self.progress)
        return self._port(source, plan(found, self.catalog, self.patches), out)

    def _prepared(
        self, name: str, parent_name: str, parent: Image | None, layers: tuple[Layer, ...]
    ) -> Prepared:
        receipt = report.dump(report.receipts_json(self.ported))
        version, source = self.release.version, self.ported[0].plan.inventory.distribution.sha256
        labels = (
            ("org.opencontainers.image.title", name),
            ("org.opencontainers.image.description", f"Apache Pulsar {version} for {self.target.name}"),
            ("org.opencontainers.image.version", version),
            ("org.opencontainers.image.source", _SOURCE),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
            *((("org.opencontainers.image.base.digest", parent.digest),) if parent else ()),
            *((("pulsar-arm.distribution", f"sha256:{source}"),) if source else ()),
            ("pulsar-arm.receipt", digest(receipt.encode())),
        )
        labels = tuple({**dict(labels), **dict(self.order.labels)}.items())
        environment = self.release.environment
        user = self.order.user
        wish = Wish(name, version, self.target, parent_name, parent, layers, labels, environment, user)
        return Prepared(recipe(wish, _CREATED), receipt)


def _stage(name: str) -> str:
    """A name of a base as FROM can take it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "base"


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
