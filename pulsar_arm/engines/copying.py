"""Where COPY and ADD put files: path mapping, owners and modes, as BuildKit was seen to do it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pulsar_arm.errors import BuildError
from pulsar_arm.formats.layer import LayerEntry

Tree = dict[str, LayerEntry]


def absolute(path: str, folder: str = "/") -> str:
    """`path`, taken from `folder` when it is relative, as a key of a Tree: no slash in front."""
    return posixpath.normpath(posixpath.join("/", folder, path)).lstrip("/")


def copy(
    stage: Mapping[str, LayerEntry],
    sources: Iterable[str],
    target: str,
    *,
    below: Mapping[str, LayerEntry],
    into: bool = False,
    owner: tuple[int, int] | None = None,
    mode: int | None = None,
) -> Tree:
    """The entries of the layer that copying `sources` of `stage` to `target` makes.

    A folder gives its content, a file itself: under `target` when `into` or when `below`, the tree
    that is there already, has a folder of that name. Owners stay unless `owner` is given; `mode`
    goes to files and folders that are copied. Folders above them are made, 0755 and root's or
    `owner`'s; those already there stay as they are, while copied folders overwrite them.
    BuildError, without file and line, for what is not there or does not fit what is.
    """
    moved: dict[str, str] = {}
    for source in sources:
        moved |= _moves(stage, absolute(source), target, into or _is_folder(below, target))
    copied = {new: _change(entry, owner, mode) for new, entry in _entries(stage, moved).items()}
    made: Tree = {}
    for path in [*copied, *([target + "/."] if not copied else [])]:
        while path := posixpath.dirname(path):
            if path not in copied:
                uid, gid = owner or (0, 0)
                made[path] = below.get(path) or LayerEntry(path, "dir", 0o755, uid, gid)
    for path, entry in made.items():
        if entry.kind != "dir":
            raise BuildError(f"/{path} is no folder in the image below, so nothing can lie in it; rename it")
    for path, entry in copied.items():
        if path in below and _is_folder(below, path) != (entry.kind == "dir"):
            kind = "no folder" if entry.kind == "dir" else "a folder"
            raise BuildError(f"/{path} is {kind} in the image below, which this would replace; rename it")
    return copied | made


def unpacked(entries: Iterable[LayerEntry], target: str, below: Mapping[str, LayerEntry]) -> Tree:
    """The entries of the layer that ADD of a tar with `entries` to `target` makes; owners stay."""
    return copy({entry.path: entry for entry in entries}, ["/"], target, below=below)


def overlaid(tree: Tree, layer: Tree) -> Tree:
    """`tree` with `layer` upon it; a hard link whose first name is replaced keeps its old content."""
    merged = dict(tree)
    first: dict[str, str] = {}
    for path, entry in sorted(tree.items()):
        if entry.kind == "hardlink" and entry.link in layer and path not in layer:
            name = first.setdefault(entry.link, path)
            alone = replace(tree[entry.link], path=path)
            merged[path] = alone if name == path else replace(entry, link=name)
    return merged | layer


def _moves(stage: Mapping[str, LayerEntry], key: str, target: str, into: bool) -> dict[str, str]:
    """New path to old path."""
    found = stage.get(key)
    if key and found is None:
        raise BuildError(f"/{key} is not there to be copied; check the name")
    if found and found.kind == "symlink":
        raise BuildError(f"/{key} is a symbolic link; copy what it points to")
    if found and found.kind != "dir":
        return {posixpath.join(target, posixpath.basename(key)) if into else target: key}
    prefix = f"{key}/" if key else ""
    return {posixpath.join(target, old[len(prefix) :]): old for old in stage if old.startswith(prefix)}


def _entries(stage: Mapping[str, LayerEntry], moved: Mapping[str, str]) -> Tree:
    """The entries under their new paths; a hard link whose first name stays behind becomes a file."""
    now = {old: new for new, old in moved.items()}
    entries: Tree = {}
    for new, old in sorted(moved.items()):
        entry = stage[old]
        if entry.kind == "hardlink" and entry.link in now:
            entries[new] = replace(entry, path=new, link=now[entry.link])
        elif entry.kind == "hardlink" and entry.link in stage:
            entries[new] = replace(stage[entry.link], path=new)
            now[entry.link] = new
        else:
            entries[new] = replace(entry, path=new)
    return entries


def _change(entry: LayerEntry, owner: tuple[int, int] | None, mode: int | None) -> LayerEntry:
    uid, gid = owner or (entry.uid, entry.gid)
    bits = entry.mode if mode is None or entry.kind == "symlink" else mode
    return replace(entry, uid=uid, gid=gid, mode=bits)


def _is_folder(below: Mapping[str, LayerEntry], target: str) -> bool:
    return not target or (target in below and below[target].kind == "dir")
