"""The runtime base under /pulsar: made of Debian's packages without running them, or an image."""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from pulsar_arm.base_image import survey
from pulsar_arm.base_store import Base, BaseStore, Package, key_of
from pulsar_arm.debian_definition import Definition, read_definition
from pulsar_arm.debian_root import RECIPE, make_root
from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.deb import read_control
from pulsar_arm.formats.layer import write_layer_blob
from pulsar_arm.formats.oci import Image, render
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.host.mmdebstrap import download_packages
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform


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
    store = BaseStore(cache, platform)

    def make() -> str:
        if offline:
            sentence = f"The base {name} for {platform.name} is not in the cache and Debian's packages"
            raise HostError(f"{sentence} cannot be fetched offline: run once without --offline.")
        return _make(described, name, platform, store, mirror, progress)

    question = [RECIPE, asdict(described), platform.debian, mirror]
    return store.get(question, make, refresh=refresh)


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
    definition: Definition,
    name: str,
    platform: Platform,
    store: BaseStore,
    mirror: str | None,
    progress: Progress,
) -> str:
    """Make the base unless the packages are those of a kept one; gives its key."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=store.folder, prefix="making-") as work:
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
        key = key_of([RECIPE, asdict(definition), platform.debian, [asdict(package) for package in packages]])
        if store.has(key):
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
        store.keep(base, key, Path(work))
    progress.note(f"The base {name} is made: {len(packages)} packages in {time.monotonic() - started:.0f} s.")
    return key


def _package(deb: Path) -> Package:
    control = read_control(deb)
    with deb.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Package(control.field("Package"), control.field("Version"), control.field("Architecture"), sha256)
