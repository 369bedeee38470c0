"""Walk through a distribution and note every native library and requirement class, judging nothing.

Natives are told by their headers, never by their names. Jars are read in memory one after the other,
archives inside archives too, and of most entries only the head is inflated. Entries named `.class`
are passed over (nine tenths of a release), but for the few that hold a platform check.
"""

from __future__ import annotations

import io
import posixpath
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from zlib_ng import zlib_ng

from pulsar_arm.errors import InputError
from pulsar_arm.formats import archive
from pulsar_arm.formats.archive import Content, Member, unsafe
from pulsar_arm.formats.elf import Elf, read_elf
from pulsar_arm.formats.jar import ZIP_DAMAGE, read_entry
from pulsar_arm.formats.native import HEAD_SIZE, Head, read_head
from pulsar_arm.requirements import REQUIREMENT_CLASSES

_DEPTH = 8
"""Archives inside archives that are followed; a NAR in a tarball holds jars at depth 2."""
_LARGEST = 1 << 30
"""Bytes of a file that is read, with the archives it lies in; more is told as unreadable."""
_JAVA_READS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEAD_DEFLATED = 2 * HEAD_SIZE
_LONGEST_NAME = 255
"""Of a file; a hostile entry's name may have 64 KiB and cost hours in a regular expression."""
_LARGEST_TEXT = 1 << 20
"""Bytes of a manifest or pom.properties; nothing longer is one."""
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_JAR_NAME = re.compile(
    r"(?P<artifact>.+?)-(?P<version>\d[\w.]*(?:-(?:\d[\w.]*|[A-Za-z]+\d+|SNAPSHOT))*)(?:-.*)?"
)
_GROUP_PREFIX = re.compile(r"^(?:[a-z0-9_]+\.)+[a-z0-9_]+-(?=[a-zA-Z])")


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
    f"archives more than {_DEPTH} deep, or larger than {_LARGEST >> 20} MiB: each is told as unreadable",
    "static libraries (.a), which no JVM loads, and what is downloaded or generated while it runs",
)
"""What no walk looks at, in words for the reader of a report."""


def walk(members: Iterable[Content], machine: str) -> Findings:
    """Look at every member; `machine` (ELF spelling) is the target whose libraries are read whole.

    A damaged archive ends the walk with a row in `unreadable`; what was seen before stays.
    """
    paths: list[str] = []
    links: set[str] = set()
    found: list[Finding] = []
    try:
        for member, content in members:
            paths.append(member.path)
            if member.kind == "symlink":
                links.add(member.path)
            if reason := unsafe(member) or _behind(links, member.path):
                found.append(Unreadable(member.path, f"{reason}; it was not looked at"))
            elif content is not None:
                found += _look(member, content, machine)
    except InputError as error:
        found.append(Unreadable("", str(error)))
    return Findings(
        tuple(paths),
        tuple(one for one in found if isinstance(one, FoundNative)),
        tuple(one for one in found if isinstance(one, FoundClass)),
        tuple(one for one in found if isinstance(one, Unreadable)),
    )


def _behind(links: set[str], path: str) -> str | None:
    """Why a path that leads through a link is not looked at: where it lies is not what it says."""
    parents = {str(parent) for parent in PurePosixPath(path).parents} if links else set()
    return f"it lies behind the link {min(links & parents)}" if links & parents else None


def _look(member: Member, content: IO[bytes], machine: str) -> Iterator[Finding]:
    path = member.path
    head = content.read(HEAD_SIZE)
    native = read_head(head)
    if not native and head[:4] not in archive.ZIP_MAGICS:
        return
    if member.size > _LARGEST:
        yield Unreadable(path, f"it is larger than {_LARGEST >> 20} MiB")
    elif native:
        # Of other systems' files nothing but the header is of interest.
        yield _loose(path, native, head + content.read() if native.format == "elf" else head)
    else:
        whole = head + content.read()
        yield from _Zip(whole, path, scope_of(path), machine, 1, _LARGEST).findings()


class _Zip:
    """One zip file in memory: a jar, a NAR, or an archive inside one."""

    def __init__(
        self, content: bytes, location: str, scope: str, machine: str, depth: int, room: int
    ) -> None:
        self._content = content
        self._location = location
        self._scope = scope
        self._machine = machine
        self._depth = depth
        self._room = room

    def findings(self) -> Iterator[Finding]:
        try:
            with zipfile.ZipFile(io.BytesIO(self._content)) as jar:
                container = None
                for info in jar.filelist:
                    name = info.filename
                    if name.endswith(".class"):
                        if name in REQUIREMENT_CLASSES:
                            yield FoundClass(self._location, name, read_entry(jar, info))
                        continue
                    if not info.file_size:
                        continue
                    if info.flag_bits & 1 or info.compress_type not in _JAVA_READS:
                        yield Unreadable(f"{self._location}!/{name}", "it is packed as Java cannot read it")
                        continue
                    head = self._head(info)
                    if head[:4] in archive.ZIP_MAGICS:
                        yield from self._nested(jar, info)
                    elif native := read_head(head):
                        container = container or self._container(jar)
                        yield self._native(jar, info, container, native)
        except ZIP_DAMAGE as error:
            yield Unreadable(self._location, f"its zip structure is damaged: {error}")

    def _head(self, info: zipfile.ZipInfo) -> bytes:
        """The first bytes of an entry, inflated no further than needed (APPNOTE 4.3.7 for the offset)."""
        start = (
            info.header_offset + 30 + sum(struct.unpack_from("<HH", self._content, info.header_offset + 26))
        )
        if info.compress_type == zipfile.ZIP_STORED:
            return self._content[start : start + min(HEAD_SIZE, info.file_size)]
        packed = self._content[start : start + min(_HEAD_DEFLATED, info.compress_size)]
        return zlib_ng.decompressobj(-15).decompress(packed, HEAD_SIZE)

    def _nested(self, jar: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[Finding]:
        location = f"{self._location}!/{info.filename}"
        if self._depth == _DEPTH:
            yield Unreadable(location, f"it lies more than {_DEPTH} archives deep")
        elif info.file_size > self._room:
            yield Unreadable(location, f"with what it lies in, it is larger than {_LARGEST >> 20} MiB")
        else:
            # An archive that holds archives, a NAR or a fat jar, is the class path of what it holds.
            content, room = read_entry(jar, info), self._room - info.file_size
            yield from _Zip(
                content, location, self._location, self._machine, self._depth + 1, room
            ).findings()

    def _native(
        self, jar: zipfile.ZipFile, info: zipfile.ZipInfo, container: Container, head: Head
    ) -> FoundNative:
        if head.format != "elf" or head.system != "linux" or self._machine not in head.machines:
            return FoundNative(container, info.filename, head, None, "")
        try:
            structure = _structure(read_entry(jar, info))
        except ZIP_DAMAGE as error:
            structure = None, f"its packed bytes are damaged: {error}"
        return FoundNative(container, info.filename, head, *structure)

    def _container(self, jar: zipfile.ZipFile) -> Container:
        library, version = _identity(jar, posixpath.basename(self._location))
        return Container(self._location, self._scope, library, version)


def _loose(path: str, head: Head, content: bytes) -> FoundNative:
    library = posixpath.basename(path).split(".", 1)[0]
    structure = _structure(content) if head.format == "elf" else (None, "")
    return FoundNative(Container(path, _loose_scope(path), library, ""), "", head, *structure)


def _structure(content: bytes) -> tuple[Elf | None, str]:
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


def _identity(jar: zipfile.ZipFile, name: str) -> tuple[str, str]:
    """Artifact id and version: from pom.properties, else the manifest and the file's name."""
    stem = re.sub(r"\.(jar|nar)$", "", name)
    entries = [info for info in jar.filelist if _POM.fullmatch(info.filename)]
    poms = [_properties(read_entry(jar, info)) for info in entries if info.file_size <= _LARGEST_TEXT]
    named = [pom for pom in poms if pom.get("artifactId") and pom["artifactId"] in stem]
    named.sort(key=lambda pom: len(pom["artifactId"]), reverse=True)  # netty-all before netty
    for pom in named or (poms if len(poms) == 1 else []):
        if pom.get("artifactId") and pom.get("version"):
            return pom["artifactId"], pom["version"]
    match = _JAR_NAME.fullmatch(stem) if len(stem) <= _LONGEST_NAME else None
    artifact, version = (match["artifact"], match["version"]) if match else (stem, "")
    artifact = _GROUP_PREFIX.sub("", artifact, count=1)
    manifest = _manifest(jar)
    told = manifest.get("Implementation-Version", "")
    # A jar that replaced another keeps that one's name; a manifest that names the library knows better.
    if told and manifest.get("Implementation-Title") == artifact:
        return artifact, told
    return artifact, version or told or manifest.get("Bundle-Version", "")


def _properties(content: bytes) -> dict[str, str]:
    rows = (line.split("=", 1) for line in content.decode("latin-1").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in rows}


def _manifest(jar: zipfile.ZipFile) -> dict[str, str]:
    """The main attributes whose values are short enough for one line (JAR File Specification)."""
    try:
        info = jar.getinfo("META-INF/MANIFEST.MF")
    except KeyError:
        return {}
    content = read_entry(jar, info) if info.file_size <= _LARGEST_TEXT else b""
    lines = content.decode("utf-8", errors="replace").split("\r\n\r\n", 1)[0].split("\n\n", 1)[0]
    return dict(re.findall(r"^([\w-]+): *(\S+)", lines, re.M))
