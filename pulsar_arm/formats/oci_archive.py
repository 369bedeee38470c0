"""Write an image as an OCI layout folder, or as one archive that every engine loads."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pulsar_arm.errors import HostError, UsageError
from pulsar_arm.formats.blob import LayerBlob
from pulsar_arm.formats.oci import INDEX, MANIFEST, Descriptor, Image, digest, index_of, render

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_PIECE = 1 << 20


def write_archive(image: Image | Sequence[Image], path: Path, reference: str, *, force: bool = False) -> None:
    """Write `image` to `path` under the name `reference` (`pulsar:2.6.0`; no tag means `latest`).

    Several images, one a platform, are written under one index. An engine that reads manifest.json only
    cannot have them under one tag: that goes to the first, and each has `pulsar:2.6.0-arm64` and its like.

    The tar is an OCI layout (image-layout.md) that also carries the manifest.json of `docker save`,
    so that docker, podman, skopeo and containerd take it; equal images give equal bytes. It is
    written beside and renamed. An existing file is refused without `force` (UsageError); HostError
    when there is no space or permission.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file for the archive.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already: remove it, or replace it with --force.")
    with _written(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _write_tar((image,) if isinstance(image, Image) else tuple(image), reference, file)
            partial.chmod(0o644)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_layout(image: Image, directory: Path, reference: str = "latest") -> None:
    """Write `image` as an OCI layout (image-layout.md) into `directory`, which must be absent or empty.

    Blobs that lie on the same file system are linked, not copied. Errors as for `write_archive`.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} exists already: remove it, or name another folder.")
    with _written(directory):
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            (partial / "blobs" / "sha256").mkdir(parents=True)
            for name, content in _parts((image,), reference).items():
                if isinstance(content, bytes):
                    (partial / name).write_bytes(content)
                else:
                    _place(content, partial / name)
            partial.chmod(0o755)
            partial.replace(directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _parts(images: Sequence[Image], reference: str) -> dict[str, bytes | LayerBlob]:
    """Every file of the layout by its name."""
    name, tag = _name_and_tag(reference)
    # Engines disagree on which of the two they name the image by: containerd's is the whole name,
    # the spec's (annotations.md) is what skopeo takes behind `oci-archive:FILE:`.
    names = (("io.containerd.image.name", f"{name}:{tag}"), ("org.opencontainers.image.ref.name", tag))
    blobs: dict[str, bytes | LayerBlob] = {}
    for image in images:
        blobs |= {layer.digest: layer for layer in image.layers}
        blobs |= {image.digest: image.manifest, image.config_digest: image.config}
    if len(images) == 1:
        image = images[0]
        top = Descriptor(MANIFEST, image.digest, len(image.manifest), image.platform, names)
    else:
        index = index_of(images)
        blobs[digest(index)] = index
        top = Descriptor(INDEX, digest(index), len(index), annotations=names)
    return {_blob_name(key): value for key, value in blobs.items()} | {
        "index.json": render({"schemaVersion": 2, "mediaType": INDEX, "manifests": [top.json()]}),
        "oci-layout": LAYOUT,
    }


def _docker_manifest(images: Sequence[Image], reference: str) -> bytes:
    name, tag = _name_and_tag(reference)
    entries = []
    for number, image in enumerate(images):
        tags = [tag] if number == 0 else []
        tags += [f"{tag}-{image.platform.partition('/')[2]}"] if len(images) > 1 else []
        entry = {
            "Config": _blob_name(image.config_digest),
            "RepoTags": [f"{name}:{one}" for one in tags],
            "Layers": [_blob_name(layer.digest) for layer in image.layers],
        }
        entries.append(render(entry))
    return b"[" + b",".join(entries) + b"]"


def _write_tar(images: Sequence[Image], reference: str, file: io.BufferedWriter) -> None:
    parts = _parts(images, reference) | {"manifest.json": _docker_manifest(images, reference)}
    with tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_PIECE) as tar:
        for folder in ("blobs", "blobs/sha256"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, content in sorted(parts.items()):
            member = tarfile.TarInfo(name)
            member.mode = 0o644
            member.size = len(content) if isinstance(content, bytes) else content.size
            with io.BytesIO(content) if isinstance(content, bytes) else content.open() as stored:
                tar.addfile(member, stored)


def _place(layer: LayerBlob, target: Path) -> None:
    if layer.path.name == layer.hex and not layer.offset:
        try:
            target.hardlink_to(layer.path)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        else:
            return
    with layer.open() as stored, target.open("wb") as copy:
        shutil.copyfileobj(stored, copy, _PIECE)


def _blob_name(name: str) -> str:
    return f"blobs/{name.replace(':', '/')}"


def _name_and_tag(reference: str) -> tuple[str, str]:
    folder, slash, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    if not name or "@" in last:
        raise UsageError(f"{reference!r} is no name for an image: give it as NAME:TAG.")
    return folder + slash + name, tag or "latest"


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Tell what keeps `path` from being written in a sentence."""
    try:
        yield
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "choose another place"
        raise HostError(f"{path} cannot be written: {error.strerror or error}; {advice}.") from error
