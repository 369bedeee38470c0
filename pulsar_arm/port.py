"""Carry a plan out: one rewrite per archive, everything else as it was, and a receipt of what was done.

Everything the plan needs is fetched and checked before the first byte is written. A replaced jar keeps
its place and name, since start scripts and class paths name it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Literal

from pulsar_arm.distribution import Source
from pulsar_arm.errors import InputError
from pulsar_arm.formats import archive, jar
from pulsar_arm.formats.archive import Content, Member
from pulsar_arm.host.files import whole_directory, whole_file
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.patches import apply
from pulsar_arm.plan import Action, PatchClass, Plan, Replace

TARBALL_SUFFIXES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True, slots=True)
class Change:
    """One file that was changed: a row of the receipt."""

    location: str
    action: Literal["replace", "patch"]
    sha256_before: str
    sha256_after: str
    origin: str
    """The coordinate of the replacement, or the patch's name."""
    origin_sha256: str
    """Of the replacement; empty for a patch."""
    licence: str


@dataclass(frozen=True, slots=True)
class Ported:
    """A ported distribution and what was done to it."""

    path: Path
    plan: Plan
    changes: tuple[Change, ...]


Edit = Callable[[bytes], bytes]


def port(
    source: Source, plan: Plan, out: Path, repository: Repository, progress: Progress, *, force: bool = False
) -> Ported:
    """Write the ported distribution to `out`: a tarball by its suffix, a folder else; a jar stays a jar.

    The bytes are the same on every machine. A plan without actions copies a file as it is. InputError
    where the source cannot be carried over whole, HostError where something cannot be fetched or written.
    """
    if plan.inventory.unreadable:
        row = plan.inventory.unreadable[0]
        raise InputError(f"{source.name} cannot be ported: {row.location or 'the archive'}: {row.reason}.")
    changes: list[Change] = []
    edits = _edits(plan.actions, repository, changes)
    tarball = out.name.endswith(TARBALL_SUFFIXES)
    whole = whole_file if tarball or source.form == "zip" else whole_directory
    with progress.task(f"Porting {source.name}", source.size()) as advance, whole(out, force=force) as place:
        _carry(source, plan.inventory.distribution.root, edits, place, tarball, advance)
    order = {location: number for number, location in enumerate(edits)}
    changes.sort(key=lambda change: order[change.location.split("!/")[0]])
    return Ported(out, plan, tuple(changes))


def _carry(
    source: Source,
    root: str,
    edits: Mapping[str, Edit],
    place: Path,
    tarball: bool,
    advance: Callable[[int], None],
) -> None:
    if not edits and tarball and _compressed(source.path) == _compressed(place) and source.form == "tar":
        shutil.copyfile(source.path, place)
        return
    members = _edited(source.members(advance), root, edits)
    if source.form == "zip":
        for _member, content in members:
            place.write_bytes(content.read() if content else b"")
    elif tarball:
        top = root or source.path.resolve().name
        with archive.write_tar(place) as add:
            for member, content in members:
                add(_below(top, member), content)
    else:
        _write_folder(members, place)


def _compressed(path: Path) -> bool:
    return path.name.endswith("gz")


def _edits(actions: Sequence[Action], repository: Repository, changes: list[Change]) -> dict[str, Edit]:
    """What is to be done to each member, by its path; replacements are fetched here, before any writing."""
    leaves: list[tuple[tuple[str, ...], Edit]] = []
    for action in actions:
        path = tuple(action.location.split("!/"))
        match action:
            case Replace():
                fetched = repository.fetch(Coordinate.parse(action.coordinate), sha256=action.sha256)
                leaves.append((path, _replace(action, fetched.path.read_bytes(), changes)))
            case PatchClass():
                leaves.append(((*path, action.entry), _patch(action, changes)))
    return dict(_by_name(leaves))


def _by_name(leaves: Sequence[tuple[tuple[str, ...], Edit]]) -> Iterator[tuple[str, Edit]]:
    groups: dict[str, list[tuple[tuple[str, ...], Edit]]] = {}
    for (first, *rest), edit in leaves:
        groups.setdefault(first, []).append((tuple(rest), edit))
    for name, group in groups.items():
        yield name, _nested(group)


def _nested(leaves: Sequence[tuple[tuple[str, ...], Edit]]) -> Edit:
    """One edit for an archive out of the edits for it and for what lies in it."""
    here = [edit for path, edit in leaves if not path]
    inside = dict(_by_name([leaf for leaf in leaves if leaf[0]]))

    def edit(content: bytes) -> bytes:
        for change in here:
            content = change(content)
        return jar.edit_entries(content, inside) if inside else content

    return edit


def _replace(action: Replace, content: bytes, changes: list[Change]) -> Edit:
    def edit(old: bytes) -> bytes:
        origin = (action.coordinate, action.sha256, action.licence)
        changes.append(Change(action.location, "replace", _sha256(old), _sha256(content), *origin))
        return content

    return edit


def _patch(action: PatchClass, changes: list[Change]) -> Edit:
    def edit(old: bytes) -> bytes:
        new = apply(action.patch, old)
        location = f"{action.location}!/{action.entry}"
        changes.append(Change(location, "patch", _sha256(old), _sha256(new), action.patch.name, "", ""))
        return new

    return edit


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _edited(members: Iterable[Content], root: str, edits: Mapping[str, Edit]) -> Iterator[Content]:
    """The members below `root`, renamed to lie at the top, with their edits made."""
    waiting = set(edits)
    for member, content in members:
        path = member.path.removeprefix(f"{root}/") if root else member.path
        if path == root:
            continue
        link = member.link.removeprefix(f"{root}/") if member.kind == "hardlink" and root else member.link
        member = replace(member, path=path, link=link)
        if content is not None and path in edits:
            waiting.discard(path)
            try:
                changed = edits[path](content.read())
            except InputError as error:
                raise InputError(f"{path} cannot be rewritten: {error}.") from error
            member, content = replace(member, size=len(changed)), BytesIO(changed)
        yield member, content
    if waiting:
        raise InputError(
            f"{min(waiting)} is no longer there: the source changed while it was read; run again."
        )


def _below(top: str, member: Member) -> Member:
    link = f"{top}/{member.link}" if member.kind == "hardlink" else member.link
    return replace(member, path=f"{top}/{member.path}", link=link)


def _write_folder(members: Iterable[Content], place: Path) -> None:
    """Unpack members that are known to be safe; folders get their modes and times last."""
    folders: list[tuple[Path, Member]] = []
    links: set[str] = set()
    for member, content in members:
        if through := links.intersection(str(parent) for parent in PurePosixPath(member.path).parents):
            raise InputError(f"{member.path} lies behind the link {min(through)}: unpack it by hand.")
        path = place / member.path
        path.parent.mkdir(parents=True, exist_ok=True)
        match member.kind:
            case "dir":
                path.mkdir(exist_ok=True)
                folders.append((path, member))
                continue
            case "symlink":
                links.add(member.path)
                path.symlink_to(member.link)
                continue
            case "hardlink":
                path.hardlink_to(place / member.link)
                continue
        with path.open("wb") as file:
            while content and (piece := content.read(1 << 20)):
                file.write(piece)
        path.chmod(member.mode)
        os.utime(path, (member.mtime, member.mtime))
    for path, member in reversed(folders):
        path.chmod(member.mode)
        os.utime(path, (member.mtime, member.mtime))
