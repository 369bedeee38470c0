"""Read me first: the whole program as its stages, in order and without detail.

    open -> scan -> plan -> port -> base, tree -> recipe -> engine -> image -> verify

Each stage takes records and gives records; only `port`, the engines and the writing of images act. What
lives as long as the program (repository, catalog, patches, target) stands in `Pipeline`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pulsar_arm import parts, report
from pulsar_arm.base import debian_base, image_base
from pulsar_arm.base_definition import PACKAGES, find_base, read_image_definition
from pulsar_arm.base_prepared import prepared_base
from pulsar_arm.base_runtime import image_runtime
from pulsar_arm.base_store import Base
from pulsar_arm.build import Build, Order, blocker, owner, require_resolved
from pulsar_arm.candidate import Ground
from pulsar_arm.catalog import Catalog
from pulsar_arm.checks import Level
from pulsar_arm.delivery import Delivered, Delivery, split_tag
from pulsar_arm.distribution import Source, is_image, is_release, open_source
from pulsar_arm.eject import write_context
from pulsar_arm.engines.choice import build_dockerfile, choose_engine
from pulsar_arm.engines.external import Job
from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.fitness import ANY_GLIBC, Runtime
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.reference import is_reference
from pulsar_arm.formats.root import unpack
from pulsar_arm.host.emulation import find_emulator
from pulsar_arm.host.files import told, whole_directory, whole_file
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Progress, Silent
from pulsar_arm.host.registry import Access
from pulsar_arm.patches import Patch
from pulsar_arm.plan import Plan, plan
from pulsar_arm.platforms import PLATFORMS, Platform
from pulsar_arm.port import Ported, port
from pulsar_arm.proof import cached, fetching, jre_of, prove
from pulsar_arm.releases import Release, default_release, release
from pulsar_arm.resolve import Resolver
from pulsar_arm.sbom import sbom_json
from pulsar_arm.scan import scan
from pulsar_arm.tree import HOME
from pulsar_arm.verify import TIMEOUT, Subject, Verification, verify
from pulsar_arm.where import Where, open_machine

DEFAULT_BASE = "debian"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages, with what they all need."""

    repository: Repository
    catalog: Catalog
    patches: Sequence[Patch]
    target: Platform
    cache: Path
    progress: Progress
    offline: bool = False
    access: Access = field(default_factory=Access)

    def open(self, name: str) -> Source:
        """SOURCE as the user wrote it; a release number is fetched into the cache and checked."""
        return open_source(name, self.path(name), self.target)

    def path(self, name: str) -> Path:
        """Where SOURCE lies, once what does not lie here was fetched."""
        if is_release(name):
            return parts.fetch_server(name, self.repository)
        return self._fetched(name, *PLATFORMS)

    def scan(self, source: Source, runtime: Runtime = ANY_GLIBC, *, graft: bool = False) -> Plan:
        """What would break, and what would be done about it: a plan touches nothing."""
        found = scan(source, self.catalog, self.target, self.progress, runtime)
        return plan(found, self.catalog, self.patches, libc=runtime.libc, graft=graft)

    def prove(
        self,
        source: Source,
        plan: Plan,
        runtime: Runtime = ANY_GLIBC,
        *,
        graft: bool = False,
        fetch: bool = True,
    ) -> Plan:
        """The plan with every jar it brings in judged where it goes; without `fetch`, those in the cache."""
        bring = fetching(self.repository)
        if not fetch:
            bring = cached(Repository(self.cache, offline=True, progress=self.progress))
        ground = Ground(self.target, runtime, jre_of(plan.inventory.distribution))
        return prove(plan, source, self.catalog, ground, bring, self.progress, graft=graft)

    @property
    def resolver(self) -> Resolver:
        """What looks for remedies that the catalog lacks."""
        return Resolver(self.repository, self.catalog, self.patches, self.target, self.progress)

    def runtime(self, base: str) -> Runtime:
        """What the base offers to native libraries, read from its files."""
        if find_base(base):
            image = self._base(base, release(default_release())).image
        else:
            image = read_image(self._fetched(base), self.target)
        with self.progress.task(f"Reading the libraries of {base}", None):
            return image_runtime(image, Path(base).name)

    def port(
        self, source: Source, plan: Plan, out: Path, *, force: bool = False, allow_unresolved: bool = False
    ) -> Ported:
        """Write the ported distribution, its receipt and bill; nothing when a gap is left that matters."""
        beside = {form: out.with_name(f"{out.name}.{form}.json") for form in ("receipt", "cdx")}
        for path in beside.values():
            if path.exists() and not force:
                raise UsageError(f"{path} exists already: choose another name, or replace it with --force.")
        plan = self.prove(source, plan)
        if allow_unresolved:
            for verdict in plan.blocking:
                self.progress.note(f"Written in spite of it: {blocker(verdict)}.")
        else:
            require_resolved(plan, source)
        ported = port(source, plan, out, self.repository, self.progress, force=force)
        written = {"receipt": report.receipt_json(ported), "cdx": sbom_json(ported)}
        for form, path in beside.items():
            with whole_file(path, force=True) as place:
                place.write_text(report.dump(written[form]), encoding="utf-8")
        return ported

    def build(self, order: Order) -> tuple[tuple[Delivered, ...], tuple[Plan, ...]]:
        """Make the images that `order` asks for; gives them with what had to be done for each part."""
        for platform in order.platforms:
            choose_engine(order.engine, "", platform, Silent())
        source, plans, row = self._planned(order)
        delivery = Delivery(order, row.version)
        publish = self._publisher(order, delivery.references)
        with _workplace(order.output) as work:
            builds = self._builds(order, row, work)
            made = [build.run(source, plan) for build, plan in zip(builds, plans, strict=True)]
            delivered = delivery.write([(build.base, one) for build, one in zip(builds, made, strict=True)])
            for one, alike in zip(delivered, zip(*made, strict=True), strict=True):
                publish(one.reference, one.archive, [image.image for image in alike])
        return delivered, _ported(builds)

    def dockerfiles(self, order: Order) -> tuple[tuple[tuple[str, str], ...], tuple[Plan, ...]]:
        """The names and texts of the Dockerfiles that `build` would hand to an engine; nothing is left."""
        source, plans, row = self._planned(order)
        with _workplace(self.cache) as work:
            builds = self._builds(order, row, work)
            recipes = [
                prepared.recipe
                for build, plan in zip(builds, plans, strict=True)
                for prepared in build.prepare(source, plan)
            ]
        texts = (
            (f"{one.name}.Dockerfile for {one.platform.oci_platform}", one.dockerfile) for one in recipes
        )
        return tuple(texts), _ported(builds)

    def eject(self, order: Order, folder: Path, *, force: bool = False) -> tuple[Plan, ...]:
        """Write a build context into `folder` that BuildKit builds without this program."""
        if folder.exists() and not force:
            raise UsageError(f"{folder} exists already: choose another name, or replace it with --force.")
        source, plans, row = self._planned(order)
        with whole_directory(folder, force=force) as place, _workplace(folder.absolute().parent) as work:
            builds = self._builds(order, row, work)
            prepared = [
                (build.base, build.prepare(source, plan)) for build, plan in zip(builds, plans, strict=True)
            ]
            write_context(place, order, row.version, prepared, self.progress)
        return _ported(builds)

    def _planned(self, order: Order) -> tuple[Source, tuple[Plan, ...], Release]:
        """What is to be built, with a plan for each platform; nothing is written before all are sound."""
        owner(order.user)
        split_tag(order.tag)
        source = self.open(order.source) if order.source else self._found_source()
        plans = tuple(replace(self, target=platform).scan(source) for platform in order.platforms)
        for one in plans:
            require_resolved(one, source)
        if source.path.with_name(f"{source.path.name}.receipt.json").exists():
            more = sum(len(one.actions) for one in plans)
            left = f"{more} more changes are made" if more else "nothing is left to change"
            self.progress.note(f"{source.name} was ported before, as the receipt beside it tells: {left}.")
        return source, plans, release(_server_version(plans[0], source))

    def _builds(self, order: Order, row: Release, work: Path) -> tuple[Build, ...]:
        """One build for each platform, its base at hand."""
        return tuple(
            Build(
                order,
                row,
                replace(self, target=platform)._base(
                    order.base, row, mirror=order.mirror, refresh=order.refresh
                ),
                work / platform.oci,
                choose_engine(order.engine, "", platform, self.progress),
                repository=self.repository,
                catalog=self.catalog,
                patches=self.patches,
                target=platform,
                cache=self.cache,
                progress=self.progress,
            )
            for platform in order.platforms
        )

    def verify(
        self, name: str, level: Level, *, where: Where = "auto", timeout: float = TIMEOUT
    ) -> Verification:
        """Prove an image, or a distribution on the default base, up to `level`.

        From `probe` on programs of it run, in the place `where`; `timeout` is in seconds, for each JVM that
        is waited for.
        """
        emulator = find_emulator(self.target) if level != "static" else None
        with tempfile.TemporaryDirectory(prefix="pulsar-arm-") as place:
            root = Path(place, "root")
            image = is_reference(name) or is_image(name)
            unpacking = self._unpack_image if image else self._unpack_distribution
            subject = unpacking(name, root)
            with open_machine(subject, level, where, emulator, self.progress) as machine:
                return verify(
                    subject, level, self.catalog, self.target, emulator, self.progress, machine, timeout
                )

    def _unpack_image(self, name: str, root: Path) -> Subject:
        image = read_image(self._fetched(name), self.target)
        with self.progress.task(f"Unpacking {name}", None):
            unpack(image, root)
        config = image.settings.get("config") or {}
        user = str(config.get("User") or "0")
        return Subject(name, root, root / HOME, _environment(image), user, image)

    def _unpack_distribution(self, name: str, root: Path) -> Subject:
        source = self.open(name)
        found = self.scan(source)
        version = _server_version(found, source)
        base = self._base(DEFAULT_BASE, release(version))
        self.progress.note(f"{name} is no image: it is verified on the base {base.name}.")
        unpack(base.image, root)
        port(source, replace(found, verdicts=()), root / HOME, self.repository, self.progress)
        row = release(version)
        env = {**_environment(base.image), "JAVA_HOME": base.java_home, **dict(row.environment)}
        return Subject(name, root, root / HOME, env, "0", None)

    def _publisher(
        self, order: Order, references: Sequence[str]
    ) -> Callable[[str, Path, Sequence[Image]], None]:
        """What to do with images beyond their archives."""
        if not (order.push or order.load):
            return lambda _reference, _archive, _images: None
        from pulsar_arm.publish import Publisher  # as above

        return Publisher(
            references,
            self.access,
            self.progress,
            to_registry=order.push,
            to_engine=order.load,
            force=order.force,
        ).publish

    def _fetched(self, name: str, *others: Platform) -> Path:
        """The path `name`, or what was fetched for the image it names: the target's, else one of `others`."""
        if not is_reference(name):
            return Path(name)
        from pulsar_arm.images import fetch  # docker's SDK takes as long to import as all the rest

        platforms = (self.target, *(one for one in others if one != self.target))
        return fetch(name, platforms, self.cache, self.access, self.progress, offline=self.offline)

    def _found_source(self) -> Source:
        named = [path for path in sorted(Path().glob("*.tar.gz")) if "pulsar" in path.name]
        here = [path for path in named if "offloader" not in path.name]
        if len(here) == 1:
            self.progress.note(f"Building from {here[0]}, the one distribution in this folder.")
            return self.open(str(here[0]))
        version = default_release()
        self.progress.note(f"Building from Pulsar {version}, the default release; --from names another.")
        return self.open(version)

    def _base(self, name: str, row: Release, *, mirror: str | None = None, refresh: bool = False) -> Base:
        known = find_base(name)
        if known is None:
            base = image_base(self._fetched(name), self.target, name)
        elif known.kind == PACKAGES:
            base = debian_base(
                known.path,
                row.jre,
                self.target,
                self.cache,
                mirror=mirror,
                offline=self.offline,
                refresh=refresh,
                progress=self.progress,
            )
        else:
            definition = read_image_definition(known, row.jre, self.target)
            _require_libc(name, definition.libc, row)
            base = prepared_base(
                definition,
                self.target,
                self.cache,
                self._build_base,
                offline=self.offline,
                refresh=refresh,
                progress=self.progress,
            )
        _require_libc(name, base.libc, row)
        return base

    def _build_base(self, name: str, dockerfile: str, blobs: Path) -> Image:
        with tempfile.TemporaryDirectory(prefix="pulsar-arm-") as context:
            job = Job(name, dockerfile, Path(context), self.target)
            return build_dockerfile(job, blobs, progress=self.progress)


def _require_libc(base: str, libc: str, row: Release) -> None:
    kind = libc.partition("-")[0]
    if kind not in row.libc:
        sentence = f"The base {base} has {kind}, but the natives of Pulsar {row.version} are built for"
        raise UsageError(f"{sentence} {' and '.join(row.libc)}: choose another base, such as {DEFAULT_BASE}.")


def _server_version(plan: Plan, source: Source) -> str:
    distribution = plan.inventory.distribution
    if distribution.kind != "pulsar":
        lacks = "it has no bin/pulsar with conf/broker.conf"
        raise InputError(f"{source.name} is no Pulsar server distribution: {lacks}.")
    return distribution.version


def _ported(builds: Sequence[Build]) -> tuple[Plan, ...]:
    return tuple(ported.plan for build in builds for ported in build.ported)


def _environment(image: Image) -> dict[str, str]:
    lines = (image.settings.get("config") or {}).get("Env") or ()
    return dict(str(line).partition("=")[::2] for line in lines)


@contextmanager
def _workplace(output: Path) -> Iterator[Path]:
    """A folder on the output's disk for what is made on the way; gone in any case at the end."""
    with told(output):
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pulsar-arm-", dir=output) as place:
            yield Path(place)
