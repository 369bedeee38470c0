"""Images as immutable values, in the nouns of the OCI image-spec 1.1: descriptor, config, layer, manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pulsar_arm.errors import InputError
from pulsar_arm.formats.blob import DAMAGED, DIGEST, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, LayerBlob

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What names content elsewhere (descriptor.md)."""

    media_type: str
    digest: str
    """`sha256:` and 64 hexadecimal digits."""
    size: int
    """Bytes."""
    platform: str = ""
    """`os/architecture`, of a manifest in an index; may be empty."""
    annotations: tuple[tuple[str, str], ...] = ()

    def json(self) -> dict[str, Any]:
        """The descriptor as the spec writes it."""
        fields: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform:
            system, _, architecture = self.platform.partition("/")
            fields["platform"] = {"os": system, "architecture": architecture}
        if self.annotations:
            fields["annotations"] = dict(self.annotations)
        return fields


@dataclass(frozen=True, slots=True)
class Image:
    """An image for one platform: its config and its layers, the lowest first."""

    config: bytes
    """The config's JSON, byte for byte (config.md): its digest is the image ID."""
    layers: tuple[LayerBlob, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The config, parsed anew: changing the result changes no image."""
        parsed = json.loads(self.config)
        if not isinstance(parsed, dict):
            raise InputError("The image's config is no JSON object: make the image again.")
        return parsed

    @property
    def platform(self) -> str:
        """`os/architecture`: `linux/arm64`."""
        settings = self.settings
        return f"{settings.get('os', '')}/{settings.get('architecture', '')}"

    @property
    def config_digest(self) -> str:
        """The digest of the config, docker's image ID."""
        return digest(self.config)

    @property
    def manifest(self) -> bytes:
        """The manifest that names config and layers (manifest.md), the same bytes for equal images."""
        layers = [Descriptor(layer.media_type, layer.digest, layer.size).json() for layer in self.layers]
        config = Descriptor(CONFIG, self.config_digest, len(self.config)).json()
        return render({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})

    @property
    def digest(self) -> str:
        """The digest of the manifest: what a registry knows the image by."""
        return digest(self.manifest)

    def validate(self) -> None:
        """Recompute what the image claims; InputError says which claim is untrue.

        Sizes and digests of the layers' bytes, their diff IDs against the config's, the history's
        count, the platform. Every producer of an image has a test that calls this.
        """
        settings = self.settings
        if not all(isinstance(settings.get(key), str) and settings[key] for key in ("os", "architecture")):
            raise InputError("The image's config names no os and architecture: make the image again.")
        rootfs = settings.get("rootfs") or {}
        claimed = rootfs.get("diff_ids", [])
        if rootfs.get("type") != "layers" or claimed != [layer.diff_id for layer in self.layers]:
            raise InputError(
                "The image's config lists other diff IDs than its layers have: make the image again."
            )
        history = settings.get("history")
        filled = [step for step in history or () if not step.get("empty_layer")]
        if history is not None and len(filled) != len(self.layers):
            sentence = f"The image's history tells of {len(filled)} layers, but it has {len(self.layers)}"
            raise InputError(f"{sentence}: make the image again.")
        for layer in self.layers:
            _validate_layer(layer)


def index_of(images: Iterable[Image]) -> bytes:
    """The image index over the manifests of `images`, one a platform (image-index.md)."""
    rows = [Descriptor(MANIFEST, one.digest, len(one.manifest), one.platform).json() for one in images]
    return render({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})


def digest(content: bytes) -> str:
    """`sha256:` and the hash of `content` (descriptor.md)."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def render(value: dict[str, Any]) -> bytes:
    """JSON whose bytes depend on the value alone: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _validate_layer(layer: LayerBlob) -> None:
    if layer.media_type not in (LAYER_TAR, LAYER_GZIP, LAYER_ZSTD):
        raise InputError(f"The layer {layer.digest} has the unknown media type {layer.media_type}.")
    if not DIGEST.fullmatch(layer.digest) or not DIGEST.fullmatch(layer.diff_id):
        raise InputError(f"The layer {layer.digest} has no sha256 digest or diff ID.")
    with layer.open() as stored:
        found, size = _hash(stored.read)
    if (found, size) != (layer.digest, layer.size):
        sentence = f"The blob {layer.digest} ({layer.size} bytes) holds {size} bytes with the digest {found}"
        raise InputError(f"{sentence}: copy or download the image again.")
    try:
        with layer.open_tar() as tar:
            found, _ = _hash(tar.read)
    except DAMAGED as error:
        raise InputError(f"The layer {layer.digest} cannot be decompressed: {error}.") from error
    if found != layer.diff_id:
        raise InputError(f"The layer {layer.digest} has the diff ID {found}, not {layer.diff_id} as claimed.")


def _hash(read: Callable[[int], bytes]) -> tuple[str, int]:
    hashed, size = hashlib.sha256(), 0
    while piece := read(_PIECE):
        hashed.update(piece)
        size += len(piece)
    return f"sha256:{hashed.hexdigest()}", size
