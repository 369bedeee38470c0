"""The bases that are known by name: a TOML file each in dockerfiles/bases, or one of the user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.catalog import folder
from pulsar_arm.errors import CatalogError, UsageError
from pulsar_arm.platforms import Platform
from pulsar_arm.tables import Table, read_toml

PACKAGES, IMAGE = "packages", "image"
"""Kinds: unpacked from Debian's packages, or an image of a registry that programs are installed into."""
NEEDED = ("bash", "curl", "kazoo", "less", "nc", "nslookup", "ping", "ps", "python", "yaml")
"""What Pulsar's scripts and charts call: programs, and two modules of Python."""
_LIBC = re.compile(r"musl|glibc-[0-9]+\.[0-9]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WHEEL = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+")


@dataclass(frozen=True, slots=True)
class KnownBase:
    """What `--base` names by a file."""

    name: str
    """The file's name without its ending."""
    path: Path
    reference: str
    """What was written behind `=`: the image to start from; else empty."""

    @property
    def kind(self) -> str:
        """`packages` or `image`; CatalogError when the file says neither."""
        return Table(self.path.name, read_toml(self.path)).choice("kind", (PACKAGES, IMAGE))


@dataclass(frozen=True, slots=True)
class ImageDefinition:
    """A base that starts from an image of a registry, for one Java release and machine."""

    name: str
    summary: str
    reference: str
    """Where FROM begins."""
    manager: str
    """The package manager, which has a template in dockerfiles/bases: `apt`, `dnf`, `apk`."""
    architecture: str
    """How that manager spells the machine."""
    jre: int
    java_home: str
    """Absolute, in the image."""
    java_vendor: str
    """What `java.vendor` says there."""
    libc: str
    """`glibc-2.35`, or `musl`."""
    packages: tuple[str, ...]
    """What is to be installed, sorted."""
    wheels: tuple[tuple[str, str], ...]
    """`(kazoo==2.10.0, sha256)`: pure Python that the distribution has no package of."""
    environment: tuple[tuple[str, str], ...]
    """ENV beside JAVA_HOME, LANG and PATH."""


def base_names() -> tuple[str, ...]:
    """The bases that are shipped, sorted."""
    return tuple(sorted(path.stem for path in _shipped().glob("*.toml")))


def find_base(asked: str) -> KnownBase | None:
    """The base that `--base` means by `NAME`, `FILE.toml`, `NAME=REFERENCE` or `FILE.toml=REFERENCE`.

    None for what may be an image: a path that is there, or a reference. UsageError, with the names there
    are, for anything else.
    """
    name, equals, reference = asked.partition("=")
    if name in base_names():
        path = _shipped() / f"{name}.toml"
    elif name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"--base {name}: there is no such file.")
    elif not equals and (Path(asked).exists() or set("/:@") & set(asked)):
        return None
    else:
        known = ", ".join(base_names())
        raise UsageError(
            f"--base {asked} is not known: choose one of {known}, or give a base file (.toml) or an image."
        )
    if equals and not reference:
        raise UsageError(f"--base {asked}: name an image after the =.")
    return KnownBase(path.stem, path, reference)


def read_image_definition(known: KnownBase, jre: int, platform: Platform) -> ImageDefinition:
    """The base of kind `image` for Java `jre` on `platform`; `{jre}` and `{architecture}` are replaced.

    CatalogError names file and key of what is wrong; UsageError when the base has not that Java release,
    or names no image and none was given.
    """
    top = Table(known.path.name, read_toml(known.path))
    if top.number("schema") != 1:
        raise CatalogError(f"{known.path.name}: schema must be 1, the only one this version knows.")
    top.choice("kind", (IMAGE,))
    manager = top.choice("manager", managers())
    architecture = platform.debian if manager == "apt" else platform.name
    words = {"jre": str(jre), "architecture": architecture}
    summary, libc, reference = top.text("summary"), top.matching("libc", _LIBC), top.text("reference", "")
    programs, wheels = _programs(known, top), _wheels(known, top)
    libraries, environment = top.texts("libraries", ()), top.pairs("environment")
    rows = {row.number("release"): row for row in top.tables("jre")}
    top.end()
    made = {release: _java(row, words) for release, row in rows.items()}
    if jre not in made:
        releases = ", ".join(str(release) for release in sorted(made)) or "none"
        raise UsageError(
            f"The base {known.name} has no Java {jre}, which this release needs, but {releases}: "
            "choose another base, or write one."
        )
    home, vendor, java, own = made[jre]
    start = known.reference or own or _filled(reference, words)
    if not start:
        raise UsageError(
            f"The base {known.name} names no image to start from: give --base {known.name}=IMAGE."
        )
    return ImageDefinition(
        name=known.name,
        summary=summary,
        reference=start,
        manager=manager,
        architecture=architecture,
        jre=jre,
        java_home=home,
        java_vendor=vendor,
        libc=libc,
        packages=tuple(sorted({*programs, *libraries, *java})),
        wheels=wheels,
        environment=environment,
    )


def managers() -> tuple[str, ...]:
    """The package managers there are templates for, sorted."""
    return tuple(sorted(path.name.split(".")[0] for path in _shipped().glob("*.Dockerfile.j2")))


def _shipped() -> Path:
    return folder("dockerfiles") / "bases"


def _programs(known: KnownBase, top: Table) -> tuple[str, ...]:
    """The packages of [programs], which has every one of NEEDED and no other; empty is: in the image."""
    rows = dict(top.pairs("programs"))
    if wrong := sorted(set(rows) ^ set(NEEDED)):
        raise CatalogError(
            f"{known.path.name}: [programs] must name the packages of {', '.join(NEEDED)}; "
            f"{wrong[0]} is {'not among them' if wrong[0] in rows else 'missing'}."
        )
    return tuple(package for package in rows.values() if package)


def _wheels(known: KnownBase, top: Table) -> tuple[tuple[str, str], ...]:
    rows = top.pairs("wheels")
    for name, sha256 in rows:
        if not _WHEEL.fullmatch(name) or not _SHA256.fullmatch(sha256):
            raise CatalogError(f'{known.path.name}: [wheels] wants "NAME==VERSION" = "sha256", not {name!r}.')
    return rows


def _java(row: Table, words: Mapping[str, str]) -> tuple[str, str, tuple[str, ...], str]:
    home, vendor = _filled(row.text("java_home"), words), row.text("java_vendor")
    packages = tuple(_filled(name, words) for name in row.texts("packages", ()))
    reference = _filled(row.text("reference", ""), words)
    row.end()
    return home, vendor, packages, reference


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace("{" + name + "}", word)
    return text
