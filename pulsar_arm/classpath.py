"""The class paths of a source: the jars that lie in each, and the classes of a jar."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Collection, Iterator
from functools import partial

from zlib_ng import zlib_ng

from pulsar_arm.distribution import Source
from pulsar_arm.errors import InputError
from pulsar_arm.formats.jar import ZIP_DAMAGE, read_entry
from pulsar_arm.formats.zip import ZIP_MAGICS
from pulsar_arm.walk import scope_of

Jar = tuple[str, bytes]
"""Where a jar lies, for people, and its bytes."""
ClassPath = dict[str, bytes]
"""The jars of one class path by their location, nested with `!/`; a NAR's own classes lie under its own."""


def class_paths(source: Source, root: str, scopes: Collection[str]) -> dict[str, ClassPath]:
    """The jars of these class paths (as `Gap.scope` names them), by class path; all are held in memory.

    `root` is the top folder that locations leave out. InputError where the source is damaged.
    """
    found: dict[str, ClassPath] = {scope: {} for scope in scopes}
    for member, content in source.members():
        path = member.path.removeprefix(f"{root}/") if root else member.path
        if content is not None and (scope_of(path) in found or _within(path, found)):
            head = content.read(4)
            if head in ZIP_MAGICS:
                _collect(path, scope_of(path), head + content.read(), found)
    return found


def class_files(jar: Jar) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every class of a jar: the entry's name, and what reads it. InputError where the jar is damaged."""
    location, content = jar
    with opened(jar) as zipped:
        for info in zipped.filelist:
            if info.filename.endswith(".class"):
                yield info.filename, partial(_inflate, location, content, info)


def opened(jar: Jar) -> zipfile.ZipFile:
    """The jar as a zip file; InputError when it is none."""
    try:
        return zipfile.ZipFile(io.BytesIO(jar[1]))
    except ZIP_DAMAGE as error:
        raise _damaged(jar[0], error) from error


def _inflate(location: str, content: bytes, info: zipfile.ZipInfo) -> bytes:
    """Inflate without `ZipFile.read`, whose care costs more than the inflating (APPNOTE 4.3.7)."""
    at = info.header_offset + 26
    start = at + 4 + sum(int.from_bytes(content[at + n : at + n + 2], "little") for n in (0, 2))
    packed = content[start : start + info.compress_size]
    if info.compress_type == zipfile.ZIP_STORED:
        return packed
    try:
        return zlib_ng.decompressobj(-15).decompress(packed, info.file_size)
    except ZIP_DAMAGE as error:
        raise _damaged(location, error) from error


def _within(location: str, scopes: Collection[str]) -> bool:
    """Whether an archive, or one inside it, is such a class path."""
    return any(scope == location or scope.startswith(f"{location}!/") for scope in scopes)


def _collect(location: str, scope: str, content: bytes, found: dict[str, ClassPath]) -> None:
    if scope in found:
        found[scope][location] = content
    if not _within(location, found):
        return
    if location in found:
        found[location][location] = content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as zipped:
            for info in zipped.filelist:
                if info.filename.endswith((".class", "/")):
                    continue
                with zipped.open(info) as entry:
                    if entry.read(4) not in ZIP_MAGICS:
                        continue
                _collect(f"{location}!/{info.filename}", location, read_entry(zipped, info), found)
    except ZIP_DAMAGE as error:
        raise _damaged(location, error) from error


def _damaged(location: str, error: Exception) -> InputError:
    return InputError(f"{location}: its zip structure is damaged: {error}.")
