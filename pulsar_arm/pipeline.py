"""Read me first: the whole program as its stages, in order and without detail.

    open -> scan -> plan -> port -> (base, tree) -> recipe -> engine -> image -> verify

Each stage takes records and gives records; only `port`, the engine and the writing of images act. What
lives as long as the program (repository, catalog, patches, target) stands in `Pipeline`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm import parts, report
from pulsar_arm.base import Base, debian_base, image_base
from pulsar_arm.catalog import Catalog, folder
from pulsar_arm.distribution import Source, is_image, is_release, open_source
from pulsar_arm.engines import ENGINES
from pulsar_arm.errors import InputError, UnresolvedGapError, UsageError
from pulsar_arm.formats.oci import Image, digest
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.root import unpack
from pulsar_arm.host.emulation import find_emulator
from pulsar_arm.host.files import told, whole_file
from pulsar_arm.host.maven import Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.image import Wish, recipe
from pulsar_arm.patches import Patch, TextPatch, Unknown, apply, state
from pulsar_arm.plan import Plan, Unresolved, Verdict, plan
from pulsar_arm.platforms import Platform
from pulsar_arm.port import Ported, port
from pulsar_arm.releases import Release, default_release, release
from pulsar_arm.scan import Gap, scan
from pulsar_arm.tree import HOME, Layer, Owner, addition_layer, server_layers
from pulsar_arm.verify import Level, Subject, Verification, verify

_SCHEMA = report.SCHEMA_VERSION
_CREATED = "1970-01-01T00:00:00Z"
_UPSTREAM = "https://pulsar.apache.org"


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
    engine: str = "embedded"
    fast: bool = False
    force: bool = False
    refresh: bool = False
    mirror: str | None = None


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that was written."""

    name: str
    reference: str
    image: Image
    archive: Path


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What `build` made and what it had to do for it."""

    images: tuple[BuiltImage, ...]
    plans: tuple[Plan, ...]
    receipt: Path
    packages: Path


@dataclass(frozen=True, slots=True)
class _Part:
    """A ported part of a release: the server, the offloaders, or one connector."""

    plan: Plan
    ported: Ported


class Pipeline:
    """The stages, with what they all need."""

    def __init__(
        self,
        repository: Repository,
        catalog: Catalog,
        patches: Sequence[Patch],
        target: Platform,
        cache: Path,
        progress: Progress,
        *,
        offline: bool,
    ) -> None:
        """Take the collaborators; nothing is opened or fetched yet."""
        self.repository = repository
        self.catalog = catalog
        self.patches = patches
        self.target = target
        self.cache = cache
        self.progress = progress
        self.offline = offline

    def open(self, name: str) -> Source:
        """SOURCE as the user wrote it; a release number is fetched into the cache and checked."""
        if is_release(name):
            return open_source(name, parts.fetch_server(name, self.repository))
        return open_source(name, Path(name))

    def scan(self, source: Source) -> Plan:
        """What would break, and what would be done about it: a plan touches nothing."""
        return plan(scan(source, self.catalog, self.target, self.progress), self.catalog, self.patches)

    def port(self, source: Source, plan: Plan, out: Path, *, force: bool = False) -> Ported:
        """Write the ported distribution and its receipt beside it.

        UnresolvedGapError when a fatal or feature gap has no remedy: nothing is written then.
        """
        _require_resolved(plan, source)
        receipt = out.with_name(f"{out.name}.receipt.json")
        if receipt.exists() and not force:
            raise UsageError(f"{receipt} exists already: choose another name, or replace it with --force.")
        ported = port(source, plan, out, self.repository, self.progress, force=force)
        with whole_file(receipt, force=True) as place:
            place.write_text(report.dump(report.receipt_json(ported)), encoding="utf-8")
        return ported

    def build(self, order: Order) -> BuildResult:
        """Make the images that `order` asks for, write them as archives, with receipt and package list."""
        source = self.open(order.source) if order.source else self._found_source()
        plan = self.scan(source)
        version = _require_server(plan, source)
        row = release(version)
        writes = _Writes(order, version, self.target)
        with _workplace(order.output) as work:
            server = self._part(source, plan, work / "server")
            base = self._base(order, row.jre)
            images, extra = self._images(order, row, server, base, work)
            receipt = {
                "schema_version": _SCHEMA,
                "parts": [report.receipt_json(part.ported) for part in (server, *extra)],
            }
            return writes.write(images, receipt, base, [part.plan for part in (server, *extra)])

    def verify(self, name: str, level: Level) -> Verification:
        """Prove an image, or a distribution on the default base, up to `level`."""
        emulator = find_emulator(self.target) if level != "static" else None
        with tempfile.TemporaryDirectory(prefix="pulsar-arm-") as folder:
            root = Path(folder, "root")
            if is_image(name):
                image = read_image(Path(name), self.target)
                with self.progress.task(f"Unpacking {name}", None):
                    unpack(image, root)
                settings = image.settings
                env = dict(one.partition("=")[::2] for one in (settings.get("config") or {}).get("Env") or ())
                subject = Subject(name, root, root / HOME, env.get("JAVA_HOME", ""), settings)
            else:
                source = self.open(name)
                plan = self.scan(source)
                base = self._default_base(release(_require_server(plan, source)).jre)
                self.progress.note(f"{name} is no image: it is verified on the base {base.name}.")
                unpack(base.image, root)
                port(source, Plan(plan.inventory, ()), root / HOME, self.repository, self.progress)
                subject = Subject(name, root, root / HOME, base.java_home, None)
            return verify(subject, level, self.catalog, self.target, emulator, self.progress)

    def _found_source(self) -> Source:
        here = [
            path
            for path in sorted(Path().glob("*.tar.gz"))
            if "pulsar" in path.name and "offload" not in path.name
        ]
        if len(here) == 1:
            self.progress.note(f"Building from {here[0]}, the one distribution in this folder.")
            return self.open(str(here[0]))
        self.progress.note(
            f"Building from Pulsar {default_release()}, the default release; --from names another."
        )
        return self.open(default_release())

    def _part(self, source: Source, plan: Plan, out: Path) -> _Part:
        _require_resolved(plan, source)
        return _Part(plan, port(source, plan, out, self.repository, self.progress))

    def _base(self, order: Order, jre: int) -> Base:
        definition = folder("dockerfiles") / "bases" / f"{order.base}.toml"
        if not definition.exists():
            return image_base(Path(order.base), self.target)
        return self._default_base(jre, definition, mirror=order.mirror, refresh=order.refresh)

    def _default_base(
        self, jre: int, definition: Path | None = None, *, mirror: str | None = None, refresh: bool = False
    ) -> Base:
        return debian_base(
            definition or folder("dockerfiles") / "bases" / f"{DEFAULT_BASE}.toml",
            jre,
            self.target,
            self.cache,
            mirror=mirror,
            offline=self.offline,
            refresh=refresh,
            progress=self.progress,
        )

    def _images(
        self, order: Order, row: Release, server: _Part, base: Base, work: Path
    ) -> tuple[dict[str, Image], list[_Part]]:
        """The images by name, and the parts beside the server that went into them."""
        owner = _owner(order.user)
        source = Source("the ported server", server.ported.path, "directory")
        inventory = scan(source, self.catalog, self.target, self.progress)
        layers = server_layers(server.ported.path, inventory, self._scripts(row), row, owner)
        image = self._build_image(order, "pulsar", row, base.name, base.image, layers, [server], work)
        images = {"pulsar": image}
        extra: list[_Part] = []
        if "pulsar-all" in order.images:
            additions, extra = self._additions(order, row, owner, work)
            images["pulsar-all"] = self._build_image(
                order, "pulsar-all", row, "pulsar", image, additions, [server, *extra], work
            )
        return {name: images[name] for name in order.images}, extra

    def _additions(
        self, order: Order, row: Release, owner: Owner, work: Path
    ) -> tuple[tuple[Layer, ...], list[_Part]]:
        """Offloaders and connectors, scanned and ported like the server."""
        extra, layers = [], []
        tarball = parts.fetch_offloaders(row.version, self.repository, self.progress)
        if tarball is not None:
            source = open_source(f"offloaders {row.version}", tarball)
            extra.append(self._part(source, self.scan(source), work / "offloaders"))
            unpacked = sorted((work / "offloaders" / "offloaders").glob("*.nar"))
            files = {f"offloaders/{nar.name}": nar for nar in unpacked}
            layers.append(addition_layer("offloaders", files, row, owner))
        names = parts.choose_connectors(order.connectors, row.version, self.repository)
        nars = parts.fetch_connectors(names, row.version, self.repository, self.progress)
        connectors = {}
        for name, path in nars.items():
            source = open_source(name, path)
            out = work / "connectors" / name
            extra.append(self._part(source, self.scan(source), out))
            connectors[f"connectors/{name}"] = out
        layers.append(addition_layer("connectors", connectors, row, owner))
        return tuple(layers), extra

    def _scripts(self, row: Release) -> dict[str, bytes]:
        """The release's container scripts, patched where they break on the base's Python."""
        scripts = parts.fetch_scripts(row, self.repository)
        for patch in self.patches:
            if isinstance(patch, TextPatch) and patch.file in scripts:
                known = state(patch, scripts[patch.file])
                if isinstance(known, Unknown):
                    self.progress.note(f"{patch.file} is left as released: {known.reason}")
                else:
                    scripts[patch.file] = apply(patch, scripts[patch.file])
        return scripts

    def _build_image(
        self,
        order: Order,
        name: str,
        row: Release,
        parent_name: str,
        parent: Image,
        layers: tuple[Layer, ...],
        parts: Sequence[_Part],
        work: Path,
    ) -> Image:
        receipts = report.dump([report.receipt_json(part.ported) for part in parts]).encode()
        server = parts[0].plan.inventory.distribution
        labels = (
            ("org.opencontainers.image.title", name),
            ("org.opencontainers.image.description", f"Apache Pulsar {row.version} for {self.target.name}"),
            ("org.opencontainers.image.version", row.version),
            ("org.opencontainers.image.url", _UPSTREAM),
            ("org.opencontainers.image.licenses", "Apache-2.0"),
            ("org.opencontainers.image.base.digest", parent.digest),
            ("pulsar-arm.source", f"sha256:{server.sha256}" if server.sha256 else "a folder"),
            ("pulsar-arm.receipt", digest(receipts)),
        )
        wish = Wish(
            name, row.version, self.target, parent_name, parent, layers, labels, row.environment, order.user
        )
        blobs = work / "blobs"
        blobs.mkdir(exist_ok=True)
        return ENGINES[order.engine].build(
            recipe(wish, _CREATED), blobs, fast=order.fast, progress=self.progress
        )


DEFAULT_BASE = "debian"


class _Writes:
    """The files that a build leaves behind; that none stands in the way is asked before the work begins."""

    def __init__(self, order: Order, version: str, target: Platform) -> None:
        self._order = order
        place = f"{version}-{target.oci_platform.replace('/', '-')}"
        self._archives = {name: order.output / f"{name}-{place}.tar" for name in order.images}
        self._receipt = order.output / f"pulsar-{place}.receipt.json"
        self._packages = order.output / f"pulsar-{place}.packages.json"
        prefix, tag = _split_tag(order.tag)
        self._references = {name: f"{prefix}/{name}:{tag or version}" for name in order.images}
        for path in (*self._archives.values(), self._receipt, self._packages):
            if path.exists() and not order.force:
                raise UsageError(
                    f"{path} exists already: choose another --output, or replace it with --force."
                )

    def write(
        self, images: dict[str, Image], receipt: dict[str, object], base: Base, plans: Sequence[Plan]
    ) -> BuildResult:
        built = []
        for name, image in images.items():
            write_archive(image, self._archives[name], self._references[name], force=self._order.force)
            built.append(BuiltImage(name, self._references[name], image, self._archives[name]))
        for path, text in ((self._receipt, report.dump(receipt)), (self._packages, base.package_list)):
            with whole_file(path, force=self._order.force) as place:
                place.write_text(text, encoding="utf-8")
        return BuildResult(tuple(built), tuple(plans), self._receipt, self._packages)


def _require_server(plan: Plan, source: Source) -> str:
    distribution = plan.inventory.distribution
    if distribution.kind != "pulsar":
        raise InputError(
            f"{source.name} is no Pulsar server distribution: it has no bin/pulsar and conf/broker.conf."
        )
    return distribution.version


def _require_resolved(plan: Plan, source: Source) -> None:
    if plan.blocking:
        first = plan.blocking[0]
        subject = first.subject
        name, place = (
            (subject.library, subject.scope)
            if isinstance(subject, Gap)
            else (subject.class_name, subject.location)
        )
        more = f" (and {len(plan.blocking) - 1} more)" if len(plan.blocking) > 1 else ""
        gap = f"the {subject.severity} gap of {name} in {place}{more}"
        raise UnresolvedGapError(f"{source.name}: nothing resolves {gap}: {_why(first)}.")


def _why(verdict: Verdict) -> str:
    return verdict.outcome.reason if isinstance(verdict.outcome, Unresolved) else ""


def _owner(user: str) -> Owner:
    uid, _colon, gid = user.partition(":")
    if not uid.isdecimal() or not (gid or "0").isdecimal():
        raise UsageError(f"--user {user} is not UID or UID:GID in numbers.")
    return Owner(int(uid), int(gid or "0"))


def _split_tag(tag: str) -> tuple[str, str]:
    folder, slash, last = tag.rpartition("/")
    name, _colon, version = last.partition(":")
    if not name:
        raise UsageError(f"--tag {tag!r} is no REPOSITORY-PREFIX[:TAG].")
    return f"{folder}{slash}{name}", version


@contextmanager
def _workplace(output: Path) -> Iterator[Path]:
    """A folder on the output's disk for what is made on the way; gone in any case at the end."""
    with told(output):
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pulsar-arm-", dir=output) as folder:
            yield Path(folder)
