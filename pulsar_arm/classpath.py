"""The class paths of a source: the jars that lie in each, and the classes of a jar."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial

from zlib_ng import zlib_ng

from pulsar_arm.distribution import Source
from pulsar_arm.errors import InputError
from pulsar_arm.formats.jar import ZIP_DAMAGE
from pulsar_arm.formats.zip import STORED, ZIP_MAGICS, Entry, in_memory
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
    with told(location):
        for entry in in_memory(content).entries():
            if entry.name.endswith(".class"):
                yield entry.name, partial(_inflate, location, content, entry)


@contextmanager
def told(location: str) -> Iterator[None]:
    """Say of an InputError where the jar lies that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{location}: {error}.") from error


def _inflate(location: str, content: bytes, entry: Entry) -> bytes:
    """Inflate in one go, without the care that a stream of unknown length needs (APPNOTE 4.3.7)."""
    at = entry.offset + 26
    start = at + 4 + sum(int.from_bytes(content[at + n : at + n + 2], "little") for n in (0, 2))
    packed = content[start : start + entry.packed]
    if entry.method == STORED:
        return packed
    try:
        return zlib_ng.decompressobj(-15).decompress(packed, entry.size)
    except ZIP_DAMAGE as error:
        raise InputError(f"{location}: its zip structure is damaged: {error}.") from error


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
    with told(location):
        zipped = in_memory(content)
        inside = [
            (entry.name, zipped.content(entry))
            for entry in zipped.entries(passing=".class")
            if entry.readable and zipped.open(entry).read(4) in ZIP_MAGICS
        ]
    for name, inner in inside:
        _collect(f"{location}!/{name}", location, inner, found)
