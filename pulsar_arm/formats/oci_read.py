"""Read an image of one platform from an OCI layout, an OCI archive or a `docker save` archive."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pulsar_arm.errors import InputError
from pulsar_arm.formats.blob import DIGEST, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Blob, LayerBlob
from pulsar_arm.formats.oci import INDEX, MANIFEST, Image
from pulsar_arm.formats.oci_store import Store, open_store
from pulsar_arm.platforms import Platform

# Docker's names for what the OCI image-spec later took over (its media-types.md, "compatibility matrix").
_DOCKER = "application/vnd.docker."
INDEXES = (INDEX, f"{_DOCKER}distribution.manifest.list.v2+json")
MANIFESTS = (MANIFEST, f"{_DOCKER}distribution.manifest.v2+json")
_LAYERS = {
    LAYER_TAR: LAYER_TAR,
    LAYER_GZIP: LAYER_GZIP,
    LAYER_ZSTD: LAYER_ZSTD,
    f"{_DOCKER}image.rootfs.diff.tar": LAYER_TAR,
    f"{_DOCKER}image.rootfs.diff.tar.gzip": LAYER_GZIP,
    f"{_DOCKER}image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}


class _AbsentError(InputError):
    """The image is for other platforms."""


_MAGICS = {b"\x1f\x8b": LAYER_GZIP, b"\x28\xb5\x2f\xfd": LAYER_ZSTD}
_SMALL = 16 << 20
_NESTED = 8


def read_image(path: Path, platform: Platform, *others: Platform) -> Image:
    """The image for `platform`, else for the first of `others`, in an OCI layout folder or an archive.

    Every blob it needs is found and its digest checked; the layers stay where they lie (an archive packed
    by gzip, xz or zstd is unpacked into a temporary folder that lives as long as the image). InputError for
    what is broken or missing, and for an image of another platform.
    """
    store = open_store(path)
    read = _read_oci if store.has("index.json") else _read_docker if store.has("manifest.json") else None
    if read:
        absent = []
        for one in (platform, *others):
            try:
                return read(store, one)
            except _AbsentError as error:
                absent.append(error)
        raise absent[0]
    raise InputError(
        f"{path} holds no image: it has neither an index.json (OCI) nor a manifest.json (docker save)."
    )


def _read_oci(store: Store, platform: Platform) -> Image:
    found: dict[str, Image] = {}
    others: set[str] = set()
    _walk(store, _json(store, "index.json"), platform, found, others, 0)
    if len(found) > 1:
        sentence = f"{store.path} holds {len(found)} different images for {platform.oci_platform}"
        raise InputError(f"{sentence}: save the one that is meant on its own.")
    for image in found.values():
        return image
    raise _absent(store, platform, others)


def _walk(
    store: Store,
    index: dict[str, Any],
    platform: Platform,
    found: dict[str, Image],
    others: set[str],
    depth: int,
) -> None:
    if depth > _NESTED:
        raise InputError(
            f"{store.path}: its indexes are nested more than {_NESTED} deep: make the image again."
        )
    for entry in _list(store, index, "manifests"):
        media_type, digest = entry.get("mediaType"), _digest(store, entry)
        named = entry.get("platform")
        if isinstance(named, dict) and _named(named) != platform.oci_platform:
            others.add(_named(named))
        elif media_type in INDEXES:
            _walk(store, _json_blob(store, digest), platform, found, others, depth + 1)
        elif media_type in MANIFESTS:
            manifest = _json_blob(store, digest)
            config = _bytes_blob(store, _digest(store, manifest.get("config")))
            settings = _parse(store, "the config", config)
            if _named(settings) == platform.oci_platform:
                layers = _list(store, manifest, "layers")
                found[digest] = Image(config, _layers(store, settings, layers))
            else:
                others.add(_named(settings))


def _layers(store: Store, settings: dict[str, Any], entries: list[dict[str, Any]]) -> tuple[LayerBlob, ...]:
    diff_ids = _diff_ids(store, settings, len(entries))
    layers = []
    for entry, diff_id in zip(entries, diff_ids, strict=True):
        digest, media_type = _digest(store, entry), str(entry.get("mediaType"))
        if media_type not in _LAYERS:
            raise InputError(
                f"{store.path}: the layer {digest} is of a kind that cannot be read, {media_type}."
            )
        blob = _blob(store, digest)
        if entry.get("size") != blob.size:
            sentence = f"{store.path}: the blob {digest} has {blob.size} bytes, not {entry.get('size')}"
            raise InputError(f"{sentence}: copy or download the image again.")
        layers.append(_layer(blob, _LAYERS[media_type], diff_id))
    return tuple(layers)


def _read_docker(store: Store, platform: Platform) -> Image:
    saved = _parse(store, "manifest.json", b'{"images":' + _read(store, "manifest.json") + b"}")
    others = set()
    for entry in _list(store, saved, "images"):
        config = _read(store, str(entry.get("Config")))
        settings = _parse(store, str(entry.get("Config")), config)
        if _named(settings) != platform.oci_platform:
            others.add(_named(settings))
            continue
        names = [str(name) for name in entry.get("Layers") or ()]
        diff_ids = _diff_ids(store, settings, len(names))
        layers = []
        for name, diff_id in zip(names, diff_ids, strict=True):
            blob = _hashed(store, name)
            with blob.open() as stored:
                magic = stored.read(4)
            layers.append(_layer(blob, _MAGICS.get(magic[:2], _MAGICS.get(magic, LAYER_TAR)), diff_id))
        return Image(config, tuple(layers))
    raise _absent(store, platform, others)


def _layer(blob: Blob, media_type: str, diff_id: str) -> LayerBlob:
    return LayerBlob(
        digest=blob.digest,
        size=blob.size,
        media_type=media_type,
        path=blob.path,
        offset=blob.offset,
        keep=blob.keep,
        diff_id=diff_id,
    )


def _blob(store: Store, digest: str) -> Blob:
    name = f"blobs/{digest.replace(':', '/')}"
    if not store.has(name):
        raise InputError(f"{store.path}: the blob {digest} is missing: copy or download the image again.")
    blob = _hashed(store, name)
    if blob.digest != digest:
        sentence = f"{store.path}: the blob {digest} holds other bytes ({blob.digest})"
        raise InputError(f"{sentence}: copy or download the image again.")
    return blob


def _hashed(store: Store, name: str) -> Blob:
    """A part as a blob, named by the digest of what it really holds."""
    if not store.has(name):
        raise InputError(f"{store.path}: {name} is missing: copy or download the image again.")
    try:
        path, offset, size, keep = store.find(name)
        blob = Blob(digest="", size=size, media_type="", path=path, offset=offset, keep=keep)
        with blob.open() as stored:
            found = hashlib.file_digest(stored, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{store.path}: {name} cannot be read: {error.strerror}.") from error
    return Blob(digest=f"sha256:{found}", size=size, media_type="", path=path, offset=offset, keep=keep)


def _bytes_blob(store: Store, digest: str) -> bytes:
    _blob(store, digest)
    return _read(store, f"blobs/{digest.replace(':', '/')}")


def _json_blob(store: Store, digest: str) -> dict[str, Any]:
    return _parse(store, f"the blob {digest}", _bytes_blob(store, digest))


def _json(store: Store, name: str) -> dict[str, Any]:
    return _parse(store, name, _read(store, name))


def _read(store: Store, name: str) -> bytes:
    blob = _hashed(store, name)
    if blob.size > _SMALL:
        raise InputError(
            f"{store.path}: {name} has {blob.size} bytes, too many for JSON: make the image again."
        )
    with blob.open() as stored:
        return stored.read()


def _parse(store: Store, name: str, content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError as error:
        raise InputError(f"{store.path}: {name} is no JSON: copy or download the image again.") from error
    if not isinstance(parsed, dict):
        raise InputError(f"{store.path}: {name} is no JSON object: copy or download the image again.")
    return parsed


def _list(store: Store, value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{store.path}: it lacks the list {key!r}: copy or download the image again.")
    return found


def _digest(store: Store, entry: Any) -> str:
    digest = entry.get("digest") if isinstance(entry, dict) else None
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise InputError(f"{store.path}: {digest!r} is no sha256 digest: make the image again.")
    return digest


def _diff_ids(store: Store, settings: dict[str, Any], count: int) -> list[str]:
    rootfs = settings.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != count:
        raise InputError(
            f"{store.path}: its config does not list {count} diff IDs, one a layer: make the image again."
        )
    return [str(one) for one in diff_ids]


def _named(value: dict[str, Any]) -> str:
    return f"{value.get('os', '')}/{value.get('architecture', '')}"


def _absent(store: Store, platform: Platform, others: set[str]) -> _AbsentError:
    # Attestations stand in indexes beside the images, as unknown/unknown.
    known = " and ".join(sorted(others - {"unknown/unknown"}))
    if not known:
        return _AbsentError(f"{store.path} holds no image: save it again.")
    return _AbsentError(f"This image is for {known}, but {platform.oci_platform} is needed: {store.path}.")
