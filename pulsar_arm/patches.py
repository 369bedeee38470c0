"""Patches of classes and scripts: read from `patches/*.toml`, judged against a file's bytes, applied.

A patch names the exact bytes it knows by SHA-256 and the bytes it makes of them; README.md in that folder
tells the schema. Whether it is applicable, unnecessary or unknown here is a value, not an error.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.errors import CatalogError, InputError
from pulsar_arm.formats.bytecode import OPCODES
from pulsar_arm.formats.classedit import EditRefusedError, replace_instructions
from pulsar_arm.requirements import read_requirements
from pulsar_arm.tables import Table, read_toml

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLASS_NAME = re.compile(r"[\w$]+(\.[\w$]+)+")
_METHOD = re.compile(r"[\w$<>]+\([^()]*\)\S+")


@dataclass(frozen=True, slots=True)
class Revision:
    """One file that a patch knows, before and after."""

    versions: tuple[str, ...]
    """The releases in which it was seen, of the artifact (class) or of Pulsar (script); for people only."""
    accepts: str
    """SHA-256 of the file as released."""
    result: str
    """SHA-256 of the patched file."""


@dataclass(frozen=True, slots=True)
class ClassEdit:
    """Instructions of one method and those that take their place, in as many bytes."""

    method: str
    """Name and descriptor: `verifyJvmRequirements()V`."""
    find: tuple[str, ...]
    """Instructions as javap writes them: `ldc "amd64"`, `aload_3`."""
    replace: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class TextEdit:
    """A piece of text and what takes its place."""

    find: str
    replace: str
    count: int
    """How often it must occur; all are replaced."""
    why: str


@dataclass(frozen=True, slots=True)
class ClassPatch:
    """How one class comes to accept another machine."""

    name: str
    """The file's stem."""
    path: Path
    summary: str
    class_name: str
    """With dots."""
    artifact: str
    """Maven artifact id of the jar that holds it: `presto-main`."""
    os_arch: str
    """The value of os.arch accepted once patched; a class that accepts it already needs no patch."""
    source_diff: Path
    """The same change as a unified diff of the released source."""
    revisions: tuple[Revision, ...]
    edits: tuple[ClassEdit, ...]

    @property
    def entry(self) -> str:
        """The entry's name in the jar."""
        return self.class_name.replace(".", "/") + ".class"


@dataclass(frozen=True, slots=True)
class TextPatch:
    """How one script comes to run on today's base."""

    name: str
    """The file's stem."""
    path: Path
    summary: str
    file: str
    """The script's file name, without folder."""
    unless: str
    """Text by which a script of another release shows that it needs no patch; empty when there is none."""
    revisions: tuple[Revision, ...]
    edits: tuple[TextEdit, ...]


Patch = ClassPatch | TextPatch


@dataclass(frozen=True, slots=True)
class Applicable:
    """The patch knows these bytes."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Unnecessary:
    """The file already does what the patch is for."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The patch does not know these bytes and must not touch them."""

    reason: str
    """A sentence for the user, with what to do."""


def load_patches(folder: Path) -> tuple[Patch, ...]:
    """Every patch of the folder by name; CatalogError names the file and key that is wrong."""
    patches = tuple(_load(path) for path in sorted(folder.glob("*.toml")))
    owners: dict[str, str] = {}
    for patch in patches:
        for revision in patch.revisions:
            other = owners.setdefault(revision.accepts, patch.name)
            if other != patch.name:
                raise CatalogError(
                    f"{patch.path.name}: accepts {revision.accepts} is known to {other}.toml as well."
                )
    return patches


def state(patch: Patch, data: bytes) -> Applicable | Unnecessary | Unknown:
    """Whether the patch can, need not, or must not be applied to a file with these bytes."""
    digest = hashlib.sha256(data).hexdigest()
    for revision in patch.revisions:
        if digest == revision.accepts:
            return Applicable(revision)
        if digest == revision.result:
            return Unnecessary("it is patched already")
    match patch:
        case ClassPatch():
            return _state_of_class(patch, data, digest)
        case TextPatch(unless=unless) if unless and unless.encode() in data:
            return Unnecessary(f"it has {unless} already")
    return _unknown(patch, patch.file, digest)


def apply(patch: Patch, data: bytes) -> bytes:
    """The patched bytes; the same bytes when the patch is unnecessary.

    Raises CatalogError when the patch does not know these bytes, when an edit does not fit them, and when the
    outcome is not the promised one.
    """
    verdict = state(patch, data)
    match verdict:
        case Unnecessary():
            return data
        case Unknown(reason):
            raise CatalogError(reason)
        case Applicable(revision):
            patched = (
                _edited_class(patch, data) if isinstance(patch, ClassPatch) else _edited_text(patch, data)
            )
            digest = hashlib.sha256(patched).hexdigest()
            if digest != revision.result:
                raise CatalogError(
                    f"{patch.path.name}: the patched file has SHA-256 {digest}, "
                    f"not the result {revision.result}; correct the edits or the result."
                )
            return patched


def _state_of_class(patch: ClassPatch, data: bytes, digest: str) -> Unnecessary | Unknown:
    try:
        requirements = read_requirements(data, patch.class_name)
    except InputError as error:
        return Unknown(str(error))
    if requirements is None:
        return Unnecessary("it refuses no machine")
    if requirements.admits(patch.os_arch):
        return Unnecessary(f"it accepts {patch.os_arch} already")
    return _unknown(patch, patch.class_name, digest)


def _unknown(patch: Patch, subject: str, digest: str) -> Unknown:
    known = ", ".join(version for revision in patch.revisions for version in revision.versions)
    return Unknown(
        f"{patch.path.name} does not know this {subject} (SHA-256 {digest}), only that of {known}; "
        "add a [[revision]] for it after reading it."
    )


def _edited_class(patch: ClassPatch, data: bytes) -> bytes:
    for number, edit in enumerate(patch.edits, 1):
        try:
            data = replace_instructions(data, edit.method, edit.find, edit.replace, patch.class_name)
        except (EditRefusedError, InputError) as error:
            raise CatalogError(f"{patch.path.name}, [[edit]] {number}: {error}.") from error
    return data


def _edited_text(patch: TextPatch, data: bytes) -> bytes:
    for number, edit in enumerate(patch.edits, 1):
        found = data.count(edit.find.encode())
        if found != edit.count:
            raise CatalogError(
                f"{patch.path.name}, [[edit]] {number}: find occurs {found} times in {patch.file}, "
                f"not {edit.count}."
            )
        data = data.replace(edit.find.encode(), edit.replace.encode())
    return data


def _load(path: Path) -> Patch:
    top = Table(path.name, read_toml(path))
    if top.number("schema") != 1:
        raise CatalogError(f"{path.name}: schema must be 1, the only one this version knows.")
    kind, summary = top.choice("kind", ("class", "text")), top.text("summary")
    revisions = tuple(_revision(row) for row in top.tables("revision"))
    edits = top.tables("edit")
    if not revisions or not edits:
        raise CatalogError(f"{path.name}: a patch has at least one [[revision]] and one [[edit]].")
    patch: Patch
    if kind == "class":
        patch = ClassPatch(
            name=path.stem,
            path=path,
            summary=summary,
            class_name=top.matching("class", _CLASS_NAME),
            artifact=top.text("artifact"),
            os_arch=top.text("os_arch"),
            source_diff=_beside(path, top.text("source_diff")),
            revisions=revisions,
            edits=tuple(
                _class_edit(row, f"{path.name}, [[edit]] {number}") for number, row in enumerate(edits, 1)
            ),
        )
    else:
        file, unless = top.text("file"), top.text("unless", "")
        text_edits = tuple(_text_edit(row, f"{path.name}, [[edit]] {n}") for n, row in enumerate(edits, 1))
        patch = TextPatch(path.stem, path, summary, file, unless, revisions, text_edits)
    top.end()
    return patch


def _beside(path: Path, name: str) -> Path:
    if "/" in name or not (path.parent / name).is_file():
        raise CatalogError(f"{path.name}: source_diff names {name}, which is no file of the same folder.")
    return path.parent / name


def _revision(row: Table) -> Revision:
    revision = Revision(
        versions=row.texts("versions"),
        accepts=row.matching("accepts", _SHA256),
        result=row.matching("result", _SHA256),
    )
    row.end()
    return revision


def _class_edit(row: Table, where: str) -> ClassEdit:
    edit = ClassEdit(
        method=row.matching("method", _METHOD),
        find=row.texts("find"),
        replace=row.texts("replace"),
        why=row.text("why"),
    )
    for line in (*edit.find, *edit.replace):
        if line.partition(" ")[0] not in OPCODES:
            raise CatalogError(f"{where}: {line!r} does not begin with an instruction of the JVM.")
    row.end()
    return edit


def _text_edit(row: Table, where: str) -> TextEdit:
    edit = TextEdit(row.text("find"), row.text("replace", ""), row.number("count"), row.text("why"))
    if edit.count < 1 or edit.find == edit.replace:
        raise CatalogError(f"{where}: count must be 1 or more, and replace another text than find.")
    row.end()
    return edit
