"""Tiny real images: layers, layouts and archives made from a few words."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pulsar_arm.formats.blob import LAYER_TAR, LayerBlob
from pulsar_arm.formats.layer import LayerEntry, write_layer, write_layer_blob
from pulsar_arm.formats.oci import Image, digest, render

CREATED = "2020-06-17T00:00:00Z"


def file(path: str, content: bytes | Path = b"", mode: int = 0o644, uid: int = 0, gid: int = 0) -> LayerEntry:
    return LayerEntry(path, "file", mode, uid, gid, source=content)


def folder(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> LayerEntry:
    return LayerEntry(path, "dir", mode, uid, gid)


def symlink(path: str, target: str) -> LayerEntry:
    return LayerEntry(path, "symlink", 0o777, link=target)


def hardlink(path: str, first: str, mode: int = 0o644) -> LayerEntry:
    return LayerEntry(path, "hardlink", mode, link=first)


def tar_of(entries: Iterable[LayerEntry]) -> bytes:
    stream = io.BytesIO()
    write_layer(entries, stream)
    return stream.getvalue()


def members_of(tar: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return opened.getmembers()


def raw_tar(*members: tuple[str, bytes, str, bytes]) -> bytes:
    """A tar of (name, type, link, content), however wicked."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, link, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def blob_of(content: bytes, blobs: Path, media_type: str = LAYER_TAR, diff_id: str = "") -> LayerBlob:
    """A layer whose stored bytes are given."""
    blobs.mkdir(parents=True, exist_ok=True)
    name = digest(content)
    path = blobs / name.removeprefix("sha256:")
    path.write_bytes(content)
    return LayerBlob(
        digest=name, size=len(content), media_type=media_type, path=path, diff_id=diff_id or digest(content)
    )


def image_of(
    blobs: Path,
    *layers: Iterable[LayerEntry] | LayerBlob,
    architecture: str = "arm64",
    config: Mapping[str, Any] | None = None,
) -> Image:
    written = [one if isinstance(one, LayerBlob) else write_layer_blob(one, blobs) for one in layers]
    settings = {
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": dict(config or {}),
        "history": [{"created": CREATED, "created_by": "made"} for _ in written],
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in written]},
    }
    return Image(render(settings), tuple(written))


def docker_archive(path: Path, *images: Image) -> None:
    """As `docker save` before version 25 wrote it: plain layers, one of them behind a link."""
    with tarfile.open(path, "w") as tar:
        entries = []
        for number, image in enumerate(images):
            names = []
            for place, layer in enumerate(image.layers):
                with layer.open_tar() as opened:
                    content = opened.read()
                _add(tar, f"{number}-{place}/real.tar", content)
                link = tarfile.TarInfo(f"{number}-{place}/layer.tar")
                link.type, link.linkname = tarfile.SYMTYPE, "real.tar"
                tar.addfile(link)
                names.append(link.name)
            _add(tar, f"{number}.json", image.config)
            entries.append({"Config": f"{number}.json", "RepoTags": ["made:1"], "Layers": names})
        _add(tar, "manifest.json", json.dumps(entries).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
