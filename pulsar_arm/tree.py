"""Lay out /pulsar: ported files, container scripts, owners and modes, split into layers by rate of change.

A layer that changes seldom is pushed and pulled seldom: third-party jars, then the jars with natives,
then Pulsar's own files. Files that stand twice in a layer become hard links, modes made equal first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pulsar_arm.formats.archive import Member, read_directory
from pulsar_arm.formats.layer import LayerEntry, link_duplicates
from pulsar_arm.releases import Release
from pulsar_arm.scan import Inventory

HOME = "pulsar"
"""Where Pulsar lives in the image, without the leading slash."""
_OWN = ("org.apache.pulsar-", "pulsar-")


@dataclass(frozen=True, slots=True)
class Layer:
    """A named part of the tree."""

    name: str
    entries: tuple[LayerEntry, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """Who the server runs as: numeric, so that no passwd entry is needed."""

    uid: int
    gid: int


def server_layers(
    ported: Path, inventory: Inventory, scripts: Mapping[str, bytes], release: Release, owner: Owner
) -> tuple[Layer, ...]:
    """The layers of `pulsar`: third-party, native, pulsar.

    `ported` is the unpacked ported distribution and `inventory` the scan of it.
    """
    native = {native.location.split("!/")[0] for native in inventory.libraries}
    parts: dict[str, list[LayerEntry]] = {"third-party": [], "native": [], "pulsar": []}
    writable = _Writable(release.writable, owner)
    for member, _content in read_directory(ported):
        if member.kind == "dir":
            parts["pulsar"].append(writable.folder(f"{HOME}/{member.path}"))
        else:
            parts[_part(member.path, native)].append(_entry(member, ported, writable))
    parts["pulsar"] += [writable.folder(str(PurePosixPath(HOME, folder))) for folder in writable.folders]
    for name, content in scripts.items():
        parts["pulsar"].append(LayerEntry(f"{HOME}/bin/{name}", "file", 0o755, source=content))
    return tuple(_layer(name, entries, writable) for name, entries in parts.items())


def addition_layer(name: str, files: Mapping[str, Path], release: Release, owner: Owner) -> Layer:
    """A layer of read-only files, such as connectors; `files` maps paths under /pulsar to what lies there."""
    entries = [LayerEntry(f"{HOME}/{path}", "file", 0o644, source=source) for path, source in files.items()]
    return _layer(name, entries, _Writable(release.writable, owner))


def _layer(name: str, entries: Iterable[LayerEntry], writable: _Writable) -> Layer:
    """Every layer repeats the folders above its files: alike in all, or the last layer would change them."""
    entries = link_duplicates(entries)
    paths = {str(parent) for entry in entries for parent in PurePosixPath(entry.path).parents}
    folders = {entry.path: entry for entry in entries if entry.kind == "dir"}
    folders |= {path: writable.folder(path) for path in paths - {"."}}
    return Layer(name, (*folders.values(), *(entry for entry in entries if entry.kind != "dir")))


def _part(path: str, native: Iterable[str]) -> str:
    name = PurePosixPath(path).name
    if path in native:
        return "native"
    if path.startswith("lib/") and name.endswith(".jar") and not name.startswith(_OWN):
        return "third-party"
    return "pulsar"


class _Writable:
    """Which paths the server writes to, and so what their owner and modes are."""

    def __init__(self, folders: Iterable[str], owner: Owner) -> None:
        self.folders = tuple(folder.removesuffix("/**") for folder in folders)
        self._single = {str(PurePosixPath(HOME, folder)) for folder in self.folders}
        self._whole = tuple(f"{HOME}/{folder[:-2]}" for folder in folders if folder.endswith("/**"))
        self.owner = owner

    def holds(self, path: str) -> bool:
        return path in self._single or path.startswith(self._whole)

    def folder(self, path: str) -> LayerEntry:
        if self.holds(path):
            return LayerEntry(path, "dir", 0o775, self.owner.uid, self.owner.gid)
        return LayerEntry(path, "dir", 0o755)


def _entry(member: Member, ported: Path, writable: _Writable) -> LayerEntry:
    path = f"{HOME}/{member.path}"
    if member.kind == "symlink":
        return LayerEntry(path, "symlink", 0o777, link=member.link)
    mode = 0o755 if member.mode & 0o111 else 0o644
    if not writable.holds(path):
        return LayerEntry(path, "file", mode, source=ported / member.path)
    owner = writable.owner
    return LayerEntry(path, "file", mode | 0o020, owner.uid, owner.gid, source=ported / member.path)
