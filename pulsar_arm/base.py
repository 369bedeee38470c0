"""The runtime base under /pulsar: made of Debian's packages without running them, or an image."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pulsar_arm.base_image import survey
from pulsar_arm.debian_definition import Definition, read_definition
from pulsar_arm.debian_root import RECIPE, make_root
from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.deb import read_control
from pulsar_arm.formats.layer import write_layer_blob
from pulsar_arm.formats.oci import Image, render
from pulsar_arm.formats.oci_archive import write_layout
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.host.mmdebstrap import download_packages
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform

_LIST = "packages.json"


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package of the base."""

    name: str
    version: str
    architecture: str
    """dpkg's: `arm64` or `all`."""
    sha256: str
    """Of the .deb file; empty where only an image's package list is known."""


@dataclass(frozen=True, slots=True)
class Base:
    """What the image of Pulsar stands on."""

    name: str
    """`debian-trixie-sid-jre8`, or the image that was given: its reference or file name."""
    image: Image
    packages: tuple[Package, ...]
    """Sorted by name; empty when the image keeps no dpkg list."""
    java_home: str
    """Absolute, in the image."""
    java_vendor: str
    """`java.vendor` as far as it is known without running it, else empty."""
    libc: str
    """`glibc-2.41`, or `musl`."""

    @property
    def package_list(self) -> str:
        """The list to be kept beside the images, as JSON: equal lists make equal bases."""
        fields = {"schema_version": 1, "base": self.name, "image": self.image.digest, "libc": self.libc}
        fields |= {"java_home": self.java_home, "java_vendor": self.java_vendor}
        rows = [asdict(package) for package in self.packages]
        return json.dumps({**fields, "packages": rows}, indent=1) + "\n"


def debian_base(
    definition: Path,
    jre: int,
    platform: Platform,
    cache: Path,
    *,
    mirror: str | None = None,
    offline: bool = False,
    refresh: bool = False,
    progress: Progress,
) -> Base:
    """The base with Java `jre` that the TOML file `definition` describes, made once and kept in `cache`.

    Later calls give the same base without looking at Debian again until `refresh`; what is kept is
    named by the packages (name, version, sha256), the definition and our own recipe, so equal lists
    give an equal digest. `mirror` replaces Debian's default mirror. HostError without mmdebstrap,
    network or space, and with `offline` when nothing is kept; CatalogError for a wrong definition.
    """
    described = read_definition(definition, jre, platform)
    name = f"debian-{'-'.join(described.suites)}-jre{jre}"
    bases = cache / "bases"
    fingerprint = _hash([RECIPE, asdict(described), platform.debian, mirror])
    with _writable(bases):
        bases.mkdir(parents=True, exist_ok=True)
        with FileLock(bases / f"{fingerprint}.lock"):
            choice = bases / f"{fingerprint}.json"
            key = None if refresh else _remembered(choice)
            if key is None or not (bases / key).is_dir():
                if offline:
                    sentence = (
                        f"The base {name} for {platform.name} is not in the cache and Debian's packages"
                    )
                    raise HostError(f"{sentence} cannot be fetched offline: run once without --offline.")
                key = _make(described, name, platform, bases, mirror, progress)
                _remember(choice, key)
    return _kept(bases / key, platform)


def image_base(path: Path, platform: Platform, name: str = "") -> Base:
    """The image in the OCI layout or archive at `path` as the base, called `name` (else as the file).

    InputError when it cannot be read, is for another platform, or has no Java or no C library.
    """
    image = read_image(path, platform)
    found = survey(image)
    java_home = found.java_home
    if not java_home:
        raise InputError(
            f"{name or path} has no Java: neither JAVA_HOME nor a libjvm.so; choose a base with a JRE."
        )
    if not found.libc:
        raise InputError(
            f"{name or path} has no C library (glibc or musl): choose a base with a Linux system."
        )
    packages = tuple(Package(*fields, sha256="") for fields in found.packages)
    return Base(name or path.name, image, packages, java_home, found.java_vendor, found.libc)


def _make(
    definition: Definition, name: str, platform: Platform, bases: Path, mirror: str | None, progress: Progress
) -> str:
    """Make the base unless the packages are those of a kept one; gives its key."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=bases, prefix="making-") as work:
        folders = {part: Path(work, part) for part in ("packages", "files", "blobs")}
        for folder in folders.values():
            folder.mkdir()
        with progress.task(f"Debian packages for {name} ({platform.name})", None):
            debs = download_packages(
                definition.packages,
                definition.suites,
                platform.debian,
                folders["packages"],
                mirror=mirror,
                apt_options=definition.apt_options,
            )
        packages = tuple(sorted((_package(deb) for deb in debs), key=lambda one: one.name))
        key = _hash([RECIPE, asdict(definition), platform.debian, [asdict(package) for package in packages]])
        if (bases / key).is_dir():
            progress.note(f"The base {name} is up to date: {len(packages)} packages, as kept.")
            return key
        with progress.task(f"Base {name}: unpack and pack {len(packages)} packages", None):
            entries = make_root(debs, definition, folders["files"])
            layer = write_layer_blob(entries, folders["blobs"])
        config = {
            "architecture": platform.oci,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": [f"{name}={value}" for name, value in definition.env], "Cmd": ["bash"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": f"pulsar-arm base {name}"}],
        }
        libc = next((package.version for package in packages if package.name == "libc6"), "")
        upstream = libc.rpartition(":")[2].partition("-")[0]
        base = Base(
            name=name,
            image=Image(render(config), (layer,)),
            packages=packages,
            java_home=definition.java_home,
            java_vendor=definition.java_vendor,
            libc=f"glibc-{upstream}",
        )
        layout = Path(work, "layout")
        write_layout(base.image, layout, name)
        (layout / _LIST).write_text(base.package_list)
        layout.replace(bases / key)
    progress.note(f"The base {name} is made: {len(packages)} packages in {time.monotonic() - started:.0f} s.")
    return key


def _package(deb: Path) -> Package:
    control = read_control(deb)
    with deb.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Package(control.field("Package"), control.field("Version"), control.field("Architecture"), sha256)


def _kept(folder: Path, platform: Platform) -> Base:
    image = read_image(folder, platform)
    try:
        listed = json.loads((folder / _LIST).read_text())
        packages = tuple(Package(**row) for row in listed["packages"])
        texts = {key: str(listed[key]) for key in ("java_home", "java_vendor", "libc")}
        return Base(name=str(listed["base"]), image=image, packages=packages, **texts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The base kept in {folder} is damaged ({error}): remove that folder.") from error


def _remembered(choice: Path) -> str | None:
    try:
        return str(json.loads(choice.read_text())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(choice: Path, key: str) -> None:
    partial = choice.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "made": time.strftime("%Y-%m-%d", time.gmtime())}))
    partial.replace(choice)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        sentence = f"The base cannot be kept in {folder}: {where}: {error.strerror or error}"
        raise HostError(f"{sentence}; free some space or choose another --cache.") from error
