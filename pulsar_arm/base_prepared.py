"""A base that starts from an image of a registry: programs are installed into it, under emulation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pulsar_arm.base_definition import NEEDED, ImageDefinition
from pulsar_arm.base_image import survey
from pulsar_arm.base_store import Base, BaseStore, Package, key_of
from pulsar_arm.errors import BuildError, HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform
from pulsar_arm.templates import render_dockerfile

Builder = Callable[[str, str, Path], Image]
"""Name, text of a Dockerfile that needs no context, folder for new layers -> the image."""
_MODULES = ("kazoo", "yaml")


def prepared_base(
    definition: ImageDefinition,
    platform: Platform,
    cache: Path,
    build: Builder,
    *,
    offline: bool = False,
    refresh: bool = False,
    progress: Progress,
) -> Base:
    """The base that `definition` describes, built once and kept in `cache` until `refresh`.

    BuildError when the packages cannot be installed, or the result lacks Java or C library; HostError with
    `offline` when nothing is kept.
    """
    text = render_base(definition, platform)
    name = f"{definition.name}-jre{definition.jre}"
    store = BaseStore(cache, platform)

    def make() -> str:
        if offline:
            sentence = f"The base {name} for {platform.name} is not in the cache and {definition.reference}"
            raise HostError(f"{sentence} cannot be fetched offline: run once without --offline.")
        with tempfile.TemporaryDirectory(dir=store.folder, prefix="making-") as work:
            base = _checked(build(f"base-{name}", text, Path(work)), definition, name, progress)
            key = key_of([asdict(definition), platform.name, base.image.digest])
            if not store.has(key):
                store.keep(base, key, Path(work))
            return key

    return store.get(["prepared", text], make, refresh=refresh)


def render_base(definition: ImageDefinition, platform: Platform) -> str:
    """The Dockerfile of a base; CatalogError when the template of its package manager is wrong."""
    programs = [name for name in NEEDED if name not in _MODULES]
    base = {**asdict(definition), "programs": programs}
    return render_dockerfile(f"bases/{definition.manager}", base=base, platform=platform.oci_platform)


def _checked(image: Image, definition: ImageDefinition, name: str, progress: Progress) -> Base:
    found = survey(image)
    if not found.libc:
        raise BuildError(f"{definition.reference} has no C library (glibc or musl): it is no Linux system.")
    if found.libc != definition.libc:
        told = f"{definition.name}.toml says {definition.libc}, but {definition.reference} has {found.libc}"
        progress.note(f"{told}; the image is what counts.")
    vendor = found.java_vendor or definition.java_vendor
    packages = tuple(Package(*fields, sha256="") for fields in found.packages)
    return Base(name, image, packages, found.java_home or definition.java_home, vendor, found.libc)
