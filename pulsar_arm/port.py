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
from pulsar_arm.formats.archive import Content, Kind, Member
from pulsar_arm.formats.packed import is_packed
from pulsar_arm.formats.zip import in_memory
from pulsar_arm.host.files import whole_directory, whole_file
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Progress
from pulsar_arm.patches import apply
from pulsar_arm.plan import Action, Add, Graft, PatchClass, Plan, Replace
from pulsar_arm.proof import graft_library

TARBALL_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_PLAIN_MODE = 0o777
"""Unpacking gives no file the right to run as its owner."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file that was changed: a row of the receipt."""

    location: str
    action: Literal["replace", "add", "graft", "patch"]
    sha256_before: str
    """Empty for what was not there."""
    sha256_after: str
    origin: str
    """The coordinate of what was brought in, or the patch's name."""
    origin_sha256: str
    """Of what was brought in; empty for a patch."""
    licence: str


@dataclass(frozen=True, slots=True)
class Ported:
    """A ported distribution and what was done to it."""

    path: Path
    plan: Plan
    changes: tuple[Change, ...]
    root: str = ""
    """The top folder inside a tarball; empty for anything else."""


Edit = Callable[[bytes], bytes]
Additions = Mapping[str, Sequence[tuple[str, bytes]]]
"""What is put behind a member, by the member's path: new paths with their content."""


def port(
    source: Source, plan: Plan, out: Path, repository: Repository, progress: Progress, *, force: bool = False
) -> Ported:
    """Write the ported distribution to `out`: a tarball by its suffix, a folder else; a jar stays a jar.

    The bytes are the same on every machine. A plan without actions copies a file as it is. InputError
    where the source cannot be carried over whole, HostError where something cannot be fetched or written.
    """
    if source.form == "image":
        raise InputError(f"{source.name} is a container image: port the distribution that it was made of.")
    if plan.inventory.unreadable:
        row = plan.inventory.unreadable[0]
        raise InputError(f"{source.name} cannot be ported: {row.location or 'the archive'}: {row.reason}.")
    changes: list[Change] = []
    edits = _edits(plan.actions, repository, plan.inventory.target.name, changes)
    additions = _additions(plan.actions, repository, changes)
    tarball = out.name.endswith(TARBALL_SUFFIXES)
    whole = whole_file if tarball or source.form == "jar" else whole_directory
    with progress.task(f"Porting {source.name}", source.size()) as advance, whole(out, force=force) as place:
        _carry(source, plan.inventory.distribution.root, edits, additions, place, tarball, advance)
    order = {action.location.split("!/")[0]: number for number, action in enumerate(plan.actions)}
    changes.sort(key=lambda change: order[change.location.split("!/")[0]])
    return Ported(
        out, plan, tuple(changes), _top(source, plan.inventory.distribution.root) if tarball else ""
    )


def _carry(
    source: Source,
    root: str,
    edits: Mapping[str, Edit],
    additions: Additions,
    place: Path,
    tarball: bool,
    advance: Callable[[int], None],
) -> None:
    unchanged = not edits and not additions
    if unchanged and tarball and source.form == "tar" and _is_as(source.path, place.name):
        shutil.copyfile(source.path, place)
        return
    members = _sound(_added(_edited(_sound(source.members(advance)), root, edits), additions))
    if source.form == "jar":
        for _member, content in members:
            place.write_bytes(content.read() if content else b"")
    elif tarball:
        top = _top(source, root)
        with archive.write_tar(place) as add:
            for member, content in members:
                add(_below(top, member), content)
    else:
        _write_folder(members, place)


def _top(source: Source, root: str) -> str:
    """The folder that a tarball has all its members in."""
    return root if source.form in ("tar", "zip") else source.path.resolve().name


def _is_as(path: Path, suffix: str) -> bool:
    """Whether a tarball is packed as the name of the output says."""
    with path.open("rb") as file:
        head = file.read(6)
    return head[:2] == b"\x1f\x8b" if suffix.endswith("gz") else not is_packed(head)


def _sound(members: Iterable[Content]) -> Iterator[Content]:
    """The same members; InputError for one that would not mean the same to every program that unpacks it.

    Such archives are how files get written outside of a folder: a link, then a file through it.
    """
    kinds: dict[str, Kind] = {}
    for member, content in members:
        path = member.path
        above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
        if through := [parent for parent in above if kinds.setdefault(parent, "dir") != "dir"]:
            raise InputError(f"{path} lies behind {through[0]}, which is no folder: unpack it by hand.")
        if kinds.get(path, member.kind) != member.kind or (path in kinds and member.kind != "dir"):
            raise InputError(f"{path} is in it twice: remove the one that is not meant.")
        if member.kind == "hardlink" and kinds.get(member.link) not in ("file", "hardlink"):
            raise InputError(f"{path} is a hard link to {member.link}, which is no file before it.")
        kinds[path] = member.kind
        yield member, content


def _edits(
    actions: Sequence[Action], repository: Repository, machine: str, changes: list[Change]
) -> dict[str, Edit]:
    """What is to be done to each member, by its path; replacements are fetched here, before any writing."""
    leaves: list[tuple[tuple[str, ...], Edit]] = []
    for action in actions:
        path = tuple(action.location.split("!/"))
        match action:
            case Replace():
                leaves.append((path, _replace(action, _fetched(action, repository), changes)))
            case Add() if len(path) > 1:
                content = _fetched(action, repository)
                leaves.append((path[:-1], _add_inside(action, path[-1], content, changes)))
            case Graft():
                library = graft_library(action, _fetched(action, repository), machine)
                leaves.append((path, _graft(action, library, changes)))
            case PatchClass():
                leaves.append(((*path, action.entry), _patch(action, changes)))
    return dict(_by_name(leaves))


def _additions(actions: Sequence[Action], repository: Repository, changes: list[Change]) -> Additions:
    """The jars that are put beside others in a folder of the distribution itself."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    for action in actions:
        if isinstance(action, Add) and "!/" not in action.location:
            content = _fetched(action, repository)
            found.setdefault(action.beside, []).append((action.location, content))
            changes.append(_addition(action, content))
    return found


def _fetched(action: Replace | Add | Graft, repository: Repository) -> bytes:
    return repository.fetch(Coordinate.parse(action.coordinate), sha256=action.sha256).path.read_bytes()


def _addition(action: Add, content: bytes) -> Change:
    origin = (action.coordinate, action.sha256, action.licence)
    return Change(action.location, "add", "", _sha256(content), *origin)


def _add_inside(action: Add, name: str, content: bytes, changes: list[Change]) -> Edit:
    def edit(old: bytes) -> bytes:
        changes.append(_addition(action, content))
        return jar.add_entry(old, name, content, action.beside.rsplit("!/", 1)[-1])

    return edit


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


def _graft(action: Graft, library: bytes, changes: list[Change]) -> Edit:
    def edit(old: bytes) -> bytes:
        before = in_memory(old)
        unfit = next(
            (_sha256(before.content(one)) for one in before.entries() if one.name == action.entry), ""
        )
        origin = (action.coordinate, action.sha256, action.licence)
        location = f"{action.location}!/{action.entry}"
        changes.append(Change(location, "graft", unfit, _sha256(library), *origin))
        return jar.put_entry(old, action.entry, library)

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
        if path in (root, "."):
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


def _added(members: Iterable[Content], additions: Additions) -> Iterator[Content]:
    """The members, each with what is put beside it right behind it, with the same mode, owner and time."""
    for member, content in members:
        yield member, content
        for path, added in additions.get(member.path, ()):
            yield replace(member, path=path, kind="file", link="", size=len(added)), BytesIO(added)


def _below(top: str, member: Member) -> Member:
    if not top:
        return member
    link = f"{top}/{member.link}" if member.kind == "hardlink" else member.link
    return replace(member, path=f"{top}/{member.path}", link=link)


def _write_folder(members: Iterable[Content], place: Path) -> None:
    """Unpack members that are sound and safe; folders get their modes and times last."""
    folders: list[tuple[Path, Member]] = []
    for member, content in members:
        path = place / member.path
        path.parent.mkdir(parents=True, exist_ok=True)
        match member.kind:
            case "dir":
                path.mkdir(exist_ok=True)
                folders.append((path, member))
                continue
            case "symlink":
                path.symlink_to(member.link)
                continue
            case "hardlink":
                path.hardlink_to(place / member.link)
                continue
        with path.open("wb") as file:
            while content and (piece := content.read(1 << 20)):
                file.write(piece)
        path.chmod(member.mode & _PLAIN_MODE)
        os.utime(path, (member.mtime, member.mtime))
    for path, member in reversed(folders):
        path.chmod(member.mode & _PLAIN_MODE)
        os.utime(path, (member.mtime, member.mtime))
