"""Fetch an image that the user names rather than has: from this machine's engine, or from a registry.

A name is NAME:TAG or NAME@DIGEST; as docker has it, the engine goes before the registry. `docker://NAME`
asks the registry alone and `docker-daemon:NAME` the engine alone, as skopeo calls them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.reference import ENGINE, REGISTRY, read_reference
from pulsar_arm.host.cache import exclusive
from pulsar_arm.host.docker_engine import Held, LocalEngine, connect
from pulsar_arm.host.progress import Progress
from pulsar_arm.host.registry import Access
from pulsar_arm.host.registry_pull import pull
from pulsar_arm.platforms import Platform


def fetch(
    name: str,
    platforms: Sequence[Platform],
    cache: Path,
    access: Access,
    progress: Progress,
    *,
    offline: bool = False,
) -> Path:
    """The image `name` for the first of `platforms` that it has: an OCI layout or archive in `cache`.

    The layout from a registry keeps its manifest, byte for byte. UsageError for a wrong name, InputError when
    the image is for another platform, HostError as engine and registry fail.
    """
    plain = name.removeprefix(REGISTRY).removeprefix(ENGINE)
    reference = read_reference(plain)
    if not name.startswith(REGISTRY):
        only = name.startswith(ENGINE)
        try:
            engine = connect()
        except HostError:
            if only:
                raise
        else:
            held = engine.inspect(plain)
            if lacks := _lacking(held, plain, platforms):
                if only:
                    raise InputError(f"{lacks}: docker image ls tells what it has.")
                progress.note(f"{lacks}; asking {reference.host}.")
            elif held:
                if not only:
                    progress.note(f"{plain} is this machine's; {REGISTRY}{plain} asks the registry.")
                return _saved(engine, plain, held.digest, cache, progress)
    return pull(reference, platforms, cache, access, progress, offline=offline)


def _lacking(held: Held | None, name: str, platforms: Sequence[Platform]) -> str:
    """Why the engine's image does not serve, or empty."""
    if held is None:
        return f"The engine has no image {name}"
    if held.platform not in {platform.oci_platform for platform in platforms}:
        return f"The engine's {name} is for {held.platform}, but {platforms[0].oci_platform} is needed"
    return ""


def _saved(engine: LocalEngine, name: str, digest: str, cache: Path, progress: Progress) -> Path:
    """The archive of an engine's image, kept until the engine has another one under that name."""
    folder = cache / "images" / "saved" / hashlib.sha256(name.encode()).hexdigest()
    path = folder / f"{digest.removeprefix('sha256:')}.tar"
    with exclusive(path, progress):
        if not path.exists():
            engine.save(name, path, progress)
            for old in folder.glob("*.tar"):
                if old != path:
                    old.unlink(missing_ok=True)
    return path
