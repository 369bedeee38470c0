"""The file tree an image shows when its layers lie on each other, and how to unpack it safely."""

from __future__ import annotations

import errno
import io
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from pulsar_arm.errors import HostError, InputError, UsageError
from pulsar_arm.formats.blob import DAMAGED, LayerBlob
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image

# OCI image-spec, layer.md, "Whiteouts".
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_HOPS = 40
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class RootEntry:
    """One path of the final tree."""

    entry: LayerEntry
    """Without `source`; a hard link names the path that is a `file` here."""
    size: int
    """Bytes of a file's content; 0 for anything else."""
    content: io.BufferedIOBase | None
    """A file's content, to be read before the next entry is asked for."""


@dataclass(frozen=True, slots=True)
class _Node:
    entry: LayerEntry
    place: tuple[int, int]
    """Layer and member that hold the content: hard links share it."""
    size: int


class Root:
    """The final tree of an image."""

    def __init__(self, image: Image) -> None:
        """Lay the layers on each other; InputError for one that is damaged or escapes."""
        self._image = image
        self._nodes = dict(sorted(_merge(image).items()))

    def paths(self) -> dict[str, LayerEntry]:
        """Every path with its entry, hard links as the files they are; no content."""
        return {path: node.entry for path, node in self._nodes.items()}

    def entries(self) -> Iterator[RootEntry]:
        """The final tree: folders (parents first), then files with content, hard links, symbolic links.

        Later layers win; whiteouts and opaque folders are applied (layer.md); device nodes and pipes
        are left out. Content is streamed layer by layer, so memory holds names only. In this order no
        path ever leads through a symbolic link. InputError for a layer that is damaged.
        """
        names: dict[tuple[int, int], list[LayerEntry]] = {}
        for node in self._nodes.values():
            if node.entry.kind == "dir":
                yield RootEntry(node.entry, 0, None)
            elif node.entry.kind == "file":
                names.setdefault(node.place, []).append(node.entry)
        for number, layer in enumerate(self._image.layers):
            if any(place[0] == number for place in names):
                with _members(layer) as tar:
                    for position, member in enumerate(tar):
                        if same := names.get((number, position)):
                            content = cast(io.BufferedIOBase, tar.extractfile(member))
                            yield RootEntry(same[0], member.size, content)
        for first, *others in names.values():
            for other in others:
                yield RootEntry(replace(other, kind="hardlink", link=first.path), 0, None)
        for node in self._nodes.values():
            if node.entry.kind == "symlink":
                yield RootEntry(node.entry, 0, None)


def root_paths(image: Image) -> dict[str, LayerEntry]:
    """Every path of an image's final tree with its entry (see `Root.paths`)."""
    return Root(image).paths()


def root_entries(image: Image) -> Iterator[RootEntry]:
    """The final tree of an image with its content (see `Root.entries`)."""
    return Root(image).entries()


def write_root(image: Image, stream: IO[bytes]) -> None:
    """Write the final tree as one plain tar (POSIX pax), every time the epoch; errors as `root_entries`."""
    types = {
        "dir": tarfile.DIRTYPE,
        "file": tarfile.REGTYPE,
        "hardlink": tarfile.LNKTYPE,
        "symlink": tarfile.SYMTYPE,
    }
    with tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_PIECE) as tar:
        for item in root_entries(image):
            member = tarfile.TarInfo(item.entry.path)
            member.type, member.mode, member.size = types[item.entry.kind], item.entry.mode, item.size
            member.uid, member.gid, member.linkname = item.entry.uid, item.entry.gid, item.entry.link
            tar.addfile(member, item.content)


def unpack(image: Image, directory: Path) -> None:
    """Write the final tree into `directory`, which must be absent or empty.

    Modes are kept; owners only when root runs it. HostError when there is no space or permission.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty: name a new folder to unpack the image into.")
        folders = []
        for item in root_entries(image):
            target = directory / item.entry.path
            match item.entry.kind:
                case "dir":
                    target.mkdir(mode=0o700)
                    folders.append((target, item.entry))
                case "file":
                    with target.open("xb") as file:
                        _copy(cast(io.BufferedIOBase, item.content), file, item.entry.path)
                    _own(target, item.entry)
                case "hardlink":
                    target.hardlink_to(directory / item.entry.link)
                case "symlink":
                    target.symlink_to(item.entry.link)
                    _own(target, item.entry)
        for target, entry in reversed(folders):
            _own(target, entry)
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "choose another folder"
        raise HostError(
            f"The image cannot be unpacked into {directory}: {error.strerror}; {advice}."
        ) from error


def _copy(content: io.BufferedIOBase, file: io.BufferedWriter, path: str) -> None:
    try:
        shutil.copyfileobj(content, file, _PIECE)
    except DAMAGED as error:
        raise InputError(f"The image's layer is damaged at {path}: copy or download it again.") from error


def _own(target: Path, entry: LayerEntry) -> None:
    if os.geteuid() == 0:
        os.chown(target, entry.uid, entry.gid, follow_symlinks=False)
    if entry.kind != "symlink":
        target.chmod(entry.mode)


@contextmanager
def _members(layer: LayerBlob) -> Iterator[tarfile.TarFile]:
    """The layer's tar, to be read once from front to back."""
    stream = layer.open_tar()
    mode = "r:" if stream.seekable() and isinstance(stream, io.BufferedReader) else "r|"
    try:
        with stream, tarfile.open(fileobj=stream, mode=mode, bufsize=_PIECE) as tar:  # type: ignore[call-overload]
            yield tar
    except DAMAGED as error:
        raise InputError(
            f"The layer {layer.digest} is damaged ({error}): copy or download the image again."
        ) from error


def _list(layer: LayerBlob) -> list[tarfile.TarInfo]:
    with _members(layer) as tar:
        return list(tar)


def _merge(image: Image) -> dict[str, _Node]:
    """The final tree by path; layers are listed side by side, for decompression is the cost."""
    tree: dict[str, _Node] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, members in enumerate(pool.map(_list, image.layers)):
            named = [(_name(member.name), member) for member in members]
            for path, _ in named:
                _hide(tree, path)
            for position, (path, member) in enumerate(named):
                if path and not posixpath.basename(path).startswith(_WHITEOUT):
                    _put(tree, _real(tree, path), member, (number, position))
    return tree


def _hide(tree: dict[str, _Node], path: str) -> None:
    folder, name = posixpath.split(path)
    folder = _real(tree, folder) if folder else ""
    if name == _OPAQUE:
        _drop_below(tree, folder)
    elif name.startswith(_WHITEOUT) and not name.startswith(2 * _WHITEOUT):
        hidden = posixpath.join(folder, name.removeprefix(_WHITEOUT))
        if tree.pop(hidden, None):
            _drop_below(tree, hidden)


def _drop_below(tree: dict[str, _Node], folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    for path in [path for path in tree if path.startswith(prefix)]:
        del tree[path]


def _put(tree: dict[str, _Node], path: str, member: tarfile.TarInfo, place: tuple[int, int]) -> None:
    mode, uid, gid = member.mode & 0o7777, member.uid, member.gid
    parent = posixpath.dirname(path)
    while parent and parent not in tree:
        tree[parent] = _Node(LayerEntry(parent, "dir", 0o755), place, 0)
        parent = posixpath.dirname(parent)
    if parent and tree[parent].entry.kind != "dir":
        raise InputError(f"The image puts {path} below {parent}, which is no folder: make the image again.")
    size = 0
    if member.isdir():
        entry = LayerEntry(path, "dir", mode, uid, gid)
    elif member.issym():
        entry = LayerEntry(path, "symlink", mode, uid, gid, member.linkname)
    elif member.isfile():
        entry, size = LayerEntry(path, "file", mode, uid, gid), member.size
    elif member.islnk():
        target = tree.get(_real(tree, _name(member.linkname)))
        if target is None or target.entry.kind == "dir":
            raise InputError(f"The image links {path} to {member.linkname}, which is no file: make it again.")
        entry, place, size = replace(target.entry, path=path), target.place, target.size
    else:
        return
    if entry.kind != "dir" and path in tree and tree[path].entry.kind == "dir":
        _drop_below(tree, path)
    tree[path] = _Node(entry, place, size)


def _name(written: str) -> str:
    """A member's path below the root, empty for the root itself; InputError when it leaves the root."""
    path = posixpath.normpath(written.lstrip("/") or ".")
    if path.split("/")[0] == "..":
        raise InputError(f"The image holds {written!r}, which leaves its root: do not use it.")
    return "" if path == "." else path


def _real(tree: dict[str, _Node], path: str) -> str:
    """`path` with the symbolic links among its parents followed inside the root, as engines do."""
    todo, done, hops = path.split("/")[::-1], "", 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = posixpath.dirname(done)
        elif part not in ("", "."):
            node = tree.get(posixpath.join(done, part))
            if todo and node and node.entry.kind == "symlink":
                hops += 1
                if hops > _HOPS:
                    raise InputError(
                        f"The image's symbolic links go round in circles at {path}: make it again."
                    )
                done = "" if node.entry.link.startswith("/") else done
                todo += node.entry.link.split("/")[::-1]
            else:
                done = posixpath.join(done, part)
    return done
