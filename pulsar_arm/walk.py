"""Walk through a distribution and note every native library and requirement class, judging nothing.

Natives are told by their headers, never by their names. Jars are read in memory one after the other,
archives inside archives too, and of most entries only the head is inflated. Entries named `.class`
are passed over (nine tenths of a release), but for the few that hold a platform check.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO

from pulsar_arm.errors import InputError
from pulsar_arm.formats.archive import Content, Member, unsafe
from pulsar_arm.formats.dynamic import Elf
from pulsar_arm.formats.native import HEAD_SIZE, Head, read_head
from pulsar_arm.formats.zip import ZIP_MAGICS, Entry, EntryError, Zip, in_memory, on_disk
from pulsar_arm.identity import identity
from pulsar_arm.requirements import REQUIREMENT_CLASSES

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Container:
    """A jar, or a loose file, that holds natives: whose they are."""

    location: str
    scope: str
    """The class path folder, or the NAR, it belongs to."""
    library: str
    """Maven artifact id; a loose file's stem."""
    version: str


@dataclass(frozen=True, slots=True)
class FoundNative:
    """One native file and what its header says."""

    container: Container
    entry: str
    """Its name inside the container; empty for a loose file."""
    head: Head
    elf: Elf | None
    """The whole structure: read for Linux libraries of the target and for loose files."""
    damage: str
    """Why its structure cannot be read, though the header can; else empty."""

    @property
    def location(self) -> str:
        """Path inside the distribution, nested with `!/`."""
        return f"{self.container.location}!/{self.entry}" if self.entry else self.container.location


@dataclass(frozen=True, slots=True)
class FoundClass:
    """A class that checks the platform."""

    location: str
    """The jar it lies in."""
    entry: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that could not be looked at, and why."""

    location: str
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one walk has seen."""

    paths: tuple[str, ...]
    natives: tuple[FoundNative, ...]
    classes: tuple[FoundClass, ...]
    unreadable: tuple[Unreadable, ...]


Finding = FoundNative | FoundClass | Unreadable

NOT_COVERED = (
    "entries of archives that are named .class: only the platform checks of Presto and Trino are read",
    "other code, scripts and settings that name a machine, and JVM options that only one machine knows",
    "archives inside that do not begin as a zip does: tar, gz, xz, zst, rpm, deb, self-running jars",
    "archives too deep or too large (--max-depth, --max-entry): each is told as unreadable",
    "symbolic links: what they lead to is judged at its own path only",
    "static libraries (.a), which no JVM loads, and what is downloaded or generated while it runs",
)
"""What no walk looks at, in words for the reader of a report."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a walk goes into what may have been made to exhaust the machine."""

    entry: int = 512 << 20
    """Bytes of a file that is read whole, together with the archives it lies in."""
    depth: int = 8
    """Archives inside archives; a NAR in a tarball holds jars at depth 2."""
    total: int = 32 << 30
    """Bytes unpacked in all."""
    entries: int = 2_000_000
    """Members of the source and entries of its archives, together."""


LIMITS = Limits()


def walk(
    members: Iterable[Content],
    machine: str,
    limits: Limits = LIMITS,
    again: Callable[[], Iterable[Content]] = tuple,
) -> Findings:
    """Look at every member; `machine` (ELF spelling) is the target whose libraries are read whole.

    A hard link is judged at its own path too: where it repeats something that matters, `again` gives the
    members once more. A damaged archive ends the walk with a row in `unreadable`; what was seen before stays.
    """
    place = _Place(machine, limits, _Left(limits))
    paths: list[str] = []
    links: set[str] = set()
    repeated: dict[str, list[str]] = {}
    found: list[Finding] = []
    matter: set[str] = set()
    try:
        for member, content in members:
            place.left.take(member.size)
            paths.append(member.path)
            if member.kind == "symlink":
                links.add(member.path)
            if reason := unsafe(member) or _behind(links, member.path):
                found.append(Unreadable(member.path, f"{reason}; it was not looked at"))
            elif content is not None:
                before = len(found)
                try:
                    found += _look(member, content, place)
                except EntryError as error:
                    found.append(Unreadable(member.path, str(error)))
                if len(found) > before:
                    matter.add(member.path)
            elif member.kind == "hardlink":
                repeated.setdefault(member.link, []).append(member.path)
        found += _repeats({path: names for path, names in repeated.items() if path in matter}, again, place)
    except InputError as error:
        found.append(Unreadable("", str(error)))
    return Findings(
        tuple(paths),
        tuple(one for one in found if isinstance(one, FoundNative)),
        tuple(one for one in found if isinstance(one, FoundClass)),
        tuple(one for one in found if isinstance(one, Unreadable)),
    )


def _repeats(
    repeated: Mapping[str, Sequence[str]], again: Callable[[], Iterable[Content]], place: _Place
) -> Iterator[Finding]:
    """What stands under the other names of files that were looked at."""
    waiting = dict(repeated)
    for member, content in again() if waiting else ():
        if content is not None and (names := waiting.pop(member.path, None)):
            whole = content.read()
            for name in names:
                yield from _look(replace(member, path=name), io.BytesIO(whole), place)
        if not waiting:
            return
    for path, names in waiting.items():
        yield from (
            Unreadable(name, f"it is a hard link to {path}, which could not be read") for name in names
        )


def _behind(links: set[str], path: str) -> str | None:
    """Why a path that leads through a link is not looked at: where it lies is not what it says."""
    parents = {str(parent) for parent in PurePosixPath(path).parents} if links else set()
    return f"it lies behind the link {min(links & parents)}" if links & parents else None


class _Left:
    """What is left of the limits on a whole source."""

    def __init__(self, limits: Limits) -> None:
        self._bytes, self._entries, self._limits = limits.total, limits.entries, limits

    def take(self, size: int) -> None:
        """One more entry that is unpacked to `size` bytes; InputError where that is too much."""
        self._bytes -= size
        self._entries -= 1
        if self._bytes < 0:
            most = f"{self._limits.total >> 20} MiB when unpacked (--max-total)"
            raise TooMuchError(f"it has more than {most}; the rest was not looked at")
        if self._entries < 0:
            most = f"{self._limits.entries} entries (--max-entries)"
            raise TooMuchError(f"it has more than {most}; the rest was not looked at")


class TooMuchError(InputError):
    """The source goes beyond a limit, and the walk ends."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a walk stands."""

    machine: str
    limits: Limits
    left: _Left
    depth: int = 1
    room: int = 0
    """Bytes that the archives around take already."""

    def too_large(self, size: int) -> str | None:
        most = f"larger than {self.limits.entry >> 20} MiB (--max-entry)"
        if self.room + size <= self.limits.entry:
            return None
        return f"with what it lies in, it is {most}" if self.room else f"it is {most}"


def _look(member: Member, content: IO[bytes], place: _Place) -> Iterator[Finding]:
    path = member.path
    head = content.read(HEAD_SIZE)
    native = read_head(head)
    if not native and head[:4] not in ZIP_MAGICS:
        return
    if native and native.format != "elf":
        # Of other systems' files nothing but the header is of interest.
        yield _loose(path, native, head)
    elif not native and content.seekable():
        yield from _Zip(lambda: on_disk(content), path, scope_of(path), place).findings()
    elif reason := place.too_large(member.size):
        yield Unreadable(path, reason)
    elif native:
        yield _loose(path, native, _whole(head, content))
    else:
        whole = _whole(head, content)
        inside = replace(place, room=len(whole))
        yield from _Zip(lambda: in_memory(whole), path, scope_of(path), inside).findings()


def _whole(head: bytes, content: IO[bytes]) -> bytes:
    whole = io.BytesIO()
    whole.write(head)
    while piece := content.read(_PIECE):
        whole.write(piece)
    return whole.getvalue()


class _Zip:
    """One zip file: a jar, a NAR, or an archive inside one."""

    def __init__(self, open_zip: Callable[[], Zip], location: str, scope: str, place: _Place) -> None:
        self._open, self._location, self._scope, self._place = open_zip, location, scope, place
        self._unnamed: list[Unreadable] = []

    def findings(self) -> Iterator[Finding]:
        try:
            jar = self._open()
            entries = list(jar.entries(passing=".class", but=REQUIREMENT_CLASSES))
        except InputError as error:
            yield Unreadable(self._location, str(error))
            return
        container = None
        for entry in entries:
            self._place.left.take(0)
            try:
                if entry.name.endswith(".class"):
                    yield FoundClass(self._location, entry.name, self._content(jar, entry))
                elif not entry.size:
                    continue
                elif not entry.readable:
                    yield Unreadable(self._inside(entry), "it is packed as Java cannot read it")
                elif (head := jar.open(entry).read(HEAD_SIZE))[:4] in ZIP_MAGICS:
                    yield from self._nested(jar, entry)
                elif native := read_head(head):
                    container = container or self._container(jar, entries)
                    yield self._native(jar, entry, container, native)
            except TooMuchError:
                raise
            except InputError as error:
                yield Unreadable(self._inside(entry), str(error))
        yield from self._unnamed

    def _inside(self, entry: Entry) -> str:
        return f"{self._location}!/{entry.name}"

    def _content(self, jar: Zip, entry: Entry) -> bytes:
        if reason := self._place.too_large(entry.size):
            raise InputError(reason)
        self._place.left.take(entry.size)
        return jar.content(entry)

    def _nested(self, jar: Zip, entry: Entry) -> Iterator[Finding]:
        place = self._place
        if place.depth == place.limits.depth:
            raise InputError(f"it lies more than {place.limits.depth} archives deep (--max-depth)")
        content = self._content(jar, entry)
        inside = replace(place, depth=place.depth + 1, room=place.room + len(content))
        # An archive that holds archives, a NAR or a fat jar, is the class path of what it holds.
        yield from _Zip(lambda: in_memory(content), self._inside(entry), self._location, inside).findings()

    def _native(self, jar: Zip, entry: Entry, container: Container, head: Head) -> FoundNative:
        if head.format != "elf" or head.system != "linux" or self._place.machine not in head.machines:
            return FoundNative(container, entry.name, head, None, "")
        try:
            structure = _structure(self._content(jar, entry))
        except TooMuchError:
            raise
        except InputError as error:
            structure = None, str(error)
        return FoundNative(container, entry.name, head, *structure)

    def _container(self, jar: Zip, entries: Sequence[Entry]) -> Container:
        name = posixpath.basename(self._location)
        try:
            known = identity(jar, entries, name)
        except InputError as error:
            self._unnamed.append(Unreadable(self._location, f"its pom.properties or manifest: {error}"))
            known = identity(jar, (), name)
        return Container(self._location, self._scope, known.artifact, known.version)


def _loose(path: str, head: Head, content: bytes) -> FoundNative:
    library = posixpath.basename(path).split(".", 1)[0]
    structure = _structure(content) if head.format == "elf" else (None, "")
    return FoundNative(Container(path, _loose_scope(path), library, ""), "", head, *structure)


def _structure(content: bytes) -> tuple[Elf | None, str]:
    from pulsar_arm.formats.elf import read_elf  # pyelftools is slow to import, and most jars need it not

    try:
        return read_elf(content), ""
    except InputError as error:
        return None, str(error)


def scope_of(location: str) -> str:
    """A NAR is its own class path; a jar belongs to its folder's."""
    return location if location.endswith(".nar") else posixpath.dirname(location) or "."


_MACHINE_FOLDER = re.compile(
    r"(?:linux|win|windows|darwin|osx|mac)?[-_]?(?:x86[-_]?64|amd64|x86|i[36]86|aarch_?64|arm64|ppc64(?:le)?|s390x)",
    re.I,
)


def _loose_scope(path: str) -> str:
    """The folder of a loose file, without the last folder when that only names the machine."""
    folder = posixpath.dirname(path)
    if _MACHINE_FOLDER.fullmatch(posixpath.basename(folder)):
        folder = posixpath.dirname(folder)
    return folder or "."
