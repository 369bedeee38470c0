"""Would a replacement link? Judge jars in the place of others, against all the classes beside them.

What the class path uses of the old jars must be in the new ones; what the new ones need from outside
and the old ones did not, must be there; and native methods must meet the library's functions. Names,
descriptors and flags are compared (JVMS 5.4.3): whether it also works is known only once it has run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pulsar_arm.callers import Callers, Library, Missing
from pulsar_arm.classpath import Jar, told
from pulsar_arm.errors import InputError
from pulsar_arm.formats.classfile import ClassFile
from pulsar_arm.formats.jni import bind
from pulsar_arm.formats.native import HEAD_SIZE, read_head
from pulsar_arm.formats.symbols import Symbols, read_symbols
from pulsar_arm.formats.zip import Entry, Zip, in_memory

_REFERENCES = ("x86_64", "aarch64", "ppc64le")
"""Machines whose libraries tell what a release of the library binds at all."""
_OF_JAVA_8 = 52  # class file version (JVMS table 4.1-A); each release since adds one


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What stands against a replacement; nothing, when it links."""

    missing: tuple[Missing, ...] = ()
    unbound: tuple[str, ...] = ()
    """Native methods without a function in the library they load."""
    rejected: tuple[str, ...] = ()
    """Methods the library registers when it is loaded, and no class has: loading it fails."""
    too_new: tuple[str, ...] = ()
    """Classes that the release's JRE refuses, with their class file version."""
    library: str = ""
    """The entry that will be loaded; empty when the loader would find none for the machine."""

    @property
    def links(self) -> bool:
        """Whether nothing stands against it."""
        return bool(self.library) and not (self.missing or self.unbound or self.rejected or self.too_new)

    def reasons(self) -> tuple[str, ...]:
        """Each thing that stands against it, in words, the weightiest first."""
        found = [] if self.library else ["it holds no library under a name that its loader asks for"]
        found += [str(one) for one in self.missing]
        found += [f"its library registers {one}, which no class declares" for one in self.rejected]
        found += [f"no function stands for the native method {one}" for one in self.unbound]
        found += [f"the JRE is too old for {one}" for one in self.too_new]
        return tuple(found)


def link(
    beside: Callable[[], Iterable[Jar]],
    old: Sequence[Jar],
    new: Sequence[Jar],
    *,
    asks: Sequence[str],
    machine: str,
    jre: int | None,
) -> LinkReport:
    """Judge `new` in the place of `old`.

    `beside` gives all other jars of the class path; it is called again when classes there derive from those
    of `old`. `asks` are the entries that the loader asks for on `machine` (`Override.asks`); without any,
    all Linux libraries for it in `new` are judged. `jre` is the release's: 8, 11, 17; None where it is not
    known, and then what the old jar needs is taken, or 8. InputError when a jar cannot be read.
    """
    before, after = Library(old), Library(new)
    loaded = list(libraries(new, asks, machine))
    symbols = [_symbols(entry, content) for entry, content in loaded]
    own = list(after.classes.values())
    leftover = _never_bound(own, new, machine) if any(bind(own, one).unbound for one in symbols) else set()
    watched = {member.partition(".")[0] for member in leftover} & set(before.classes)
    named = {name for one in symbols for name in one.classes}
    callers = Callers(before, after, named, watched)
    missing = sorted(callers.check(beside))
    newest = (
        _OF_JAVA_8 - 8 + jre if jre else max([_OF_JAVA_8, *(one.major for one in before.classes.values())])
    )
    too_new = sorted(f"{one.name} (class file version {one.major})" for one in own if one.major > newest)
    bindings = [bind([*own, *callers.native], one) for one in symbols]
    unbound = {one for binding in bindings for one in binding.unbound} - (leftover - callers.members)
    if unbound and callers.native:
        unbound -= _never_bound(callers.native, new, machine) - callers.members
    rejected = {one for binding in bindings for one in binding.rejected}
    entry = loaded[0][0] if loaded else ""
    return LinkReport(tuple(missing), tuple(sorted(unbound)), tuple(sorted(rejected)), tuple(too_new), entry)


def libraries(jars: Sequence[Jar], asks: Sequence[str], machine: str) -> Iterator[tuple[str, bytes]]:
    """The Linux libraries for `machine` that could be loaded, by entry; without `asks`, all of them.

    InputError when a jar, or an entry of it, is damaged.
    """
    for location, content in jars:
        with told(location):
            zipped = in_memory(content)
            entries = {one.name: one for one in zipped.entries(passing=".class")}
            for name in asks or entries:
                if name in entries and (library := _native(zipped, entries[name], machine)):
                    yield name, library


def _native(zipped: Zip, entry: Entry, machine: str) -> bytes | None:
    """The whole entry, if it is a Linux library for the machine."""
    if not entry.readable:
        return None
    head = read_head(zipped.open(entry).read(HEAD_SIZE))
    if head is None or head.format != "elf" or head.system != "linux" or machine not in head.machines:
        return None
    return zipped.content(entry)


def _symbols(entry: str, content: bytes) -> Symbols:
    try:
        return read_symbols(content)
    except InputError as error:
        raise InputError(f"{entry}: {error}") from error


def _never_bound(classes: Sequence[ClassFile], jars: Sequence[Jar], machine: str) -> set[str]:
    """Native methods that no other machine's library has a function for: leftovers, lost to nobody."""
    unbound = [
        set(bind(classes, _symbols(entry, content)).unbound)
        for other in _REFERENCES
        if other != machine
        for entry, content in libraries(jars, (), other)
    ]
    return set.intersection(*unbound) if unbound else set()
