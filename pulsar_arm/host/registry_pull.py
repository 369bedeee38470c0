"""Bring an image of a registry into the cache, as an OCI layout with one platform in it.

`CACHE/images/HEX/` is named by the manifest's digest and has the registry's own bytes; blobs lie once in
`CACHE/images/blobs/` and are linked into it, so images that share layers share their bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.blob import DIGEST
from pulsar_arm.formats.oci import INDEX, Descriptor, digest, render
from pulsar_arm.formats.oci_archive import LAYOUT
from pulsar_arm.formats.oci_read import INDEXES, MANIFESTS
from pulsar_arm.formats.reference import Reference, short
from pulsar_arm.host.cache import exclusive, stored, write_whole
from pulsar_arm.host.fetch import download
from pulsar_arm.host.files import link, whole_directory
from pulsar_arm.host.progress import Advance, Progress, Silent
from pulsar_arm.host.registry import Access, Registry
from pulsar_arm.platforms import Platform

NO_IMAGE = "unknown/unknown"
"""The platform of attestations, which stand in indexes beside the images."""
_THREADS = 3
_NESTED = 4
_ACCEPT = {"Accept": ", ".join((*INDEXES, *MANIFESTS))}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as the registry has it."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """Of the bytes."""
        return digest(self.content)

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON; InputError when it is none."""
        try:
            parsed = json.loads(self.content)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise InputError(f"The manifest {self.digest} is no JSON object: push the image anew.")
        return parsed

    @property
    def platforms(self) -> tuple[str, ...]:
        """What an index names, `os/architecture` each; attestations are none."""
        rows = [row.get("platform") for row in self.fields.get("manifests") or ()]
        named = {f"{row.get('os')}/{row.get('architecture')}" for row in rows if isinstance(row, dict)}
        return tuple(sorted(named - {NO_IMAGE}))


def pull(
    reference: Reference,
    platforms: Sequence[Platform],
    cache: Path,
    access: Access,
    progress: Progress,
    *,
    offline: bool = False,
) -> Path:
    """The layout of the image at `reference` for the first of `platforms` that it has.

    Nothing is brought twice; with `offline` only what was pulled before under this name serves. InputError
    when it is for other platforms, and every failure of the registry as `Registry` has it.
    """
    images = cache / "images"
    wanted = "-".join(platform.oci for platform in platforms)
    name = hashlib.sha256(f"{reference} {wanted}".encode()).hexdigest()
    choice = images / "names" / f"{name}.json"
    if offline:
        return _remembered(reference, choice, images)
    if mirror := access.mirrors.get(reference.host, ""):
        host, slash, prefix = mirror.partition("/")
        there = replace(reference, host=host, repository=f"{prefix}{slash}{reference.repository}")
        try:
            return _Pull(there, images, access, progress).run(platforms, choice)
        except HostError as error:
            progress.note(f"The mirror {mirror} does not serve {reference}: {error}")
    return _Pull(reference, images, access, progress).run(platforms, choice)


def read_manifest(registry: Registry, reference: Reference, point: str) -> Manifest:
    """The manifest at a tag or digest, its digest checked; NotThereError when there is none."""
    url = registry.url(f"{reference.repository}/manifests/{point}")

    def attempt() -> Manifest:
        with registry.send("GET", url, _ACCEPT) as response:
            content = registry.read_small(response)
        told = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return Manifest(told, content)

    found = registry.patiently(url, attempt)
    if point.startswith("sha256:") and found.digest != point:
        raise HostError(f"{reference.name} has other bytes under {short(point)}: push the image anew.")
    if found.media_type not in (*INDEXES, *MANIFESTS):
        # Some registries send text/plain or JSON; what the manifest says of itself decides then.
        found = Manifest(str(found.fields.get("mediaType") or found.media_type), found.content)
    return found


class _Pull:
    def __init__(self, reference: Reference, images: Path, access: Access, progress: Progress) -> None:
        self._reference, self._images, self._progress = reference, images, progress
        self._registry = Registry(reference.host, access, progress)
        self._registry.allow(reference.repository, "pull")

    def run(self, platforms: Sequence[Platform], choice: Path) -> Path:
        """Bring what is missing; the layout's path."""
        top = self._read(self._reference.point)
        manifest, platform = self._choose(top, [one.oci_platform for one in platforms])
        layout = self._images / manifest.digest.removeprefix("sha256:")
        with exclusive(layout, self._progress):
            if not layout.is_dir():
                self._bring(manifest, platform, layout)
            choice.parent.mkdir(parents=True, exist_ok=True)
            chosen = {"image": str(self._reference), "layout": layout.name}
            write_whole(choice, json.dumps(chosen).encode())
        return layout

    def _read(self, point: str) -> Manifest:
        return read_manifest(self._registry, self._reference, point)

    def _choose(self, top: Manifest, wanted: Sequence[str]) -> tuple[Manifest, str]:
        """The manifest for the first platform that is there."""
        offered: dict[str, str | Manifest] = {}
        for platform, where in self._offers(top, 0):
            offered.setdefault(platform, where)
        for platform in wanted:
            if platform in offered:
                where = offered[platform]
                return (self._read(where) if isinstance(where, str) else where), platform
        there = " and ".join(sorted(set(offered) - {NO_IMAGE})) or "no platform"
        sentence = f"{self._reference} is for {there}, but {wanted[0]} is needed"
        raise InputError(f"{sentence}: name an image that has it.")

    def _offers(self, manifest: Manifest, depth: int) -> Iterator[tuple[str, str | Manifest]]:
        """Every platform with its manifest, or the digest of that."""
        if manifest.media_type in MANIFESTS:
            yield self._platform(manifest), manifest
            return
        if manifest.media_type not in INDEXES or depth > _NESTED:
            raise InputError(
                f"{self._reference} is a {manifest.media_type or 'thing of no kind'}, which is no image that "
                "can be read: push it anew with a current docker."
            )
        for row in _rows(manifest, "manifests"):
            named = row.get("platform")
            if row.get("mediaType") in INDEXES:
                yield from self._offers(self._read(_digest(row)), depth + 1)
            elif isinstance(named, dict):
                yield f"{named.get('os')}/{named.get('architecture')}", _digest(row)
            else:
                yield from self._offers(self._read(_digest(row)), depth + 1)

    def _platform(self, manifest: Manifest) -> str:
        config = self._blob(_digest(manifest.fields.get("config")), lambda _count: None)
        try:
            settings = json.loads(config.read_bytes())
            return f"{settings['os']}/{settings['architecture']}"
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._reference} is no image of a system: its config names none.") from error

    def _bring(self, manifest: Manifest, platform: str, layout: Path) -> None:
        listed: list[Any] = [manifest.fields.get("config"), *_rows(manifest, "layers")]
        rows: dict[str, Any] = {_digest(row): row for row in listed}  # one layer may stand in an image twice
        total = sum(int(row.get("size") or 0) for row in rows.values())
        with self._progress.task(f"Pulling {self._reference} ({platform})", total) as advance:
            pool = ThreadPoolExecutor(_THREADS)
            try:
                blobs = list(pool.map(lambda name: self._blob(name, advance), rows))
            except BaseException:
                self._registry.stopped.set()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
        entry = Descriptor(manifest.media_type, manifest.digest, len(manifest.content), platform)
        with whole_directory(layout) as folder:
            place = folder / "blobs" / "sha256"
            place.mkdir(parents=True)
            for blob in blobs:
                link(blob, place / blob.name)
            (place / layout.name).write_bytes(manifest.content)
            (folder / "oci-layout").write_bytes(LAYOUT)
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry.json()]}
            (folder / "index.json").write_bytes(render(index))

    def _blob(self, name: str, advance: Advance) -> Path:
        """The file of the blob `name` in the cache, downloaded unless it is there."""
        path = self._images / "blobs" / name.removeprefix("sha256:")
        url = self._registry.url(f"{self._reference.repository}/blobs/{name}")
        with exclusive(path, self._progress):
            kept = stored(path, path.name)
            if kept is None:
                counted = _Counted(advance, self._registry.stopped)
                download(self._registry, url, path, progress=counted, label=short(name), sha256=path.name)
            else:
                advance(kept.size)
        return path


class _Counted(Silent):
    """Lets a download count towards the bar of the whole image, and end when another one has failed."""

    def __init__(self, advance: Advance, stopped: Event) -> None:
        self._advance, self._stopped = advance, stopped

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Advance]:
        """Count there."""
        yield self._count

    def _count(self, count: int) -> None:
        if self._stopped.is_set():
            raise HostError("The download was given up: run again.")
        self._advance(count)


def _remembered(reference: Reference, choice: Path, images: Path) -> Path:
    try:
        layout = images / str(json.loads(choice.read_bytes())["layout"])
    except (OSError, ValueError, KeyError, TypeError):
        layout = choice
    if not layout.is_dir():
        raise HostError(f"{reference} is not in the cache and --offline is given: run once without it.")
    return layout


def _rows(manifest: Manifest, key: str) -> list[dict[str, Any]]:
    rows = manifest.fields.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"The manifest {manifest.digest} lacks the list {key!r}: push the image anew.")
    return rows


def _digest(row: Any) -> str:
    found = row.get("digest") if isinstance(row, dict) else None
    if not isinstance(found, str) or not DIGEST.fullmatch(found):
        raise InputError(f"A manifest names {found!r}, which is no sha256 digest: push the image anew.")
    return found
