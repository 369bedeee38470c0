"""Would a replacement link? Judge jars in the place of others, against all the classes beside them.

What the class path uses of the old jars must be in the new ones; what the new ones need from outside
and the old ones did not, must be there; and native methods must meet the library's functions. Names,
descriptors and flags are compared (JVMS 5.4.3): whether it also works is known only once it has run.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from zlib_ng import zlib_ng

from pulsar_arm.errors import InputError
from pulsar_arm.formats.classfile import MEMBERS, ClassFile, Reference, Tag, read_class
from pulsar_arm.formats.jar import ZIP_DAMAGE
from pulsar_arm.formats.jni import NATIVE, bind
from pulsar_arm.formats.native import HEAD_SIZE, read_head
from pulsar_arm.formats.symbols import Symbols, read_symbols
from pulsar_arm.hierarchy import Found, Hierarchy, changed, unimplemented

Jar = tuple[str, bytes]
"""Where a jar lies, for people, and its bytes."""

_GIVEN = ("java/", "javax/", "jdk/", "sun/", "com/sun/", "org/w3c/", "org/xml/")
"""Packages that the JRE brings; what is asked of them is taken to be there."""
_REFERENCES = ("x86_64", "aarch64", "ppc64le")
"""Machines whose libraries tell what a release of the library binds at all."""
_OF_JAVA_8 = 52  # class file version (JVMS table 4.1-A); each release since adds one


@dataclass(frozen=True, slots=True, order=True)
class Missing:
    """One thing that some class needs and would not find."""

    caller: str
    """Internal name of the class that needs it."""
    member: str
    """A class, or a member as javap writes it: `org/rocksdb/RocksDB.get:([B)[B`."""
    jar: str
    """Where the caller lies."""
    how: str = "is gone"

    def __str__(self) -> str:
        """As a sentence without an end."""
        return f"{self.caller} in {self.jar} needs {self.member}, which {self.how}"


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
    jre: int,
) -> LinkReport:
    """Judge `new` in the place of `old`.

    `beside` gives all other jars of the class path; it is called again when classes there derive from those
    of `old`. `asks` are the entries that the loader asks for on `machine` (`Override.asks`); without any,
    all Linux libraries for it in `new` are judged. `jre` is the release's: 8, 11, 17. InputError when a jar
    cannot be read.
    """
    before, after = _Library(old), _Library(new)
    libraries = [(entry, _symbols(entry, content)) for entry, content in _libraries(new, asks, machine)]
    callers = _Callers(before, after, [symbols for _entry, symbols in libraries])
    missing = sorted(callers.check(beside))
    too_new = sorted(
        f"{one.name} (class file version {one.major})"
        for one in after.classes.values()
        if one.major > _OF_JAVA_8 - 8 + jre
    )
    classes = [*after.classes.values(), *callers.native]
    bindings = [bind(classes, symbols) for _entry, symbols in libraries]
    unbound = {one for binding in bindings for one in binding.unbound}
    rejected = {one for binding in bindings for one in binding.rejected}
    if unbound:
        unbound -= _never_bound(classes, new, machine) - callers.members
    entry = libraries[0][0] if libraries else ""
    return LinkReport(tuple(missing), tuple(sorted(unbound)), tuple(sorted(rejected)), tuple(too_new), entry)


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
        for entry, content in _libraries(jars, (), other)
    ]
    return set.intersection(*unbound) if unbound else set()


def _libraries(jars: Sequence[Jar], asks: Sequence[str], machine: str) -> Iterator[tuple[str, bytes]]:
    """The libraries that could be loaded: the first of each name that is asked for, or all without names."""
    for location, content in jars:
        with _opened(location, content) as jar:
            for name in asks or jar.namelist():
                if name not in jar.NameToInfo or name.endswith((".class", "/")):
                    continue
                with jar.open(name) as entry:
                    start = entry.read(HEAD_SIZE)
                    head = read_head(start)
                    if head and head.format == "elf" and head.system == "linux" and machine in head.machines:
                        yield name, start + entry.read()


class _Library:
    """The classes of the jars that change, and what they ask of others."""

    def __init__(self, jars: Sequence[Jar]) -> None:
        self.classes: dict[str, ClassFile] = {}
        self.jars: dict[str, str] = {}
        for location, jar in jars:
            for entry, content in _classes(location, jar):
                if not entry.startswith("META-INF/") and not entry.endswith("module-info.class"):
                    one = read_class(content, f"{location}!/{entry}")
                    self.classes[one.name] = one
                    self.jars[one.name] = location
        self.hierarchy = Hierarchy(self.classes)
        self.outward = {
            reference
            for one in self.classes.values()
            for reference in _references(one)
            if reference.owner not in self.classes and not reference.owner.startswith(_GIVEN)
        }


@dataclass(slots=True)
class _Callers:
    """Goes through the classes beside, and notes what they would not find."""

    before: _Library
    after: _Library
    libraries: Sequence[Symbols]
    deriving: dict[str, ClassFile] = field(default_factory=dict)
    """Classes beside that extend or implement one of the library's, straight or through others."""
    names: set[str] = field(default_factory=set)
    """Of all classes beside."""
    outside: dict[str, ClassFile] = field(default_factory=dict)
    """Classes beside in packages that only the new library asks something of."""
    members: set[str] = field(default_factory=set)
    """Members of the old library that classes beside name."""
    native: list[ClassFile] = field(default_factory=list)
    """Classes beside with native methods that the new library names, as a classifier jar's does."""

    def check(self, beside: Callable[[], Iterable[Jar]]) -> set[Missing]:
        """All that is missing."""
        asked = self.after.outward - self.before.outward
        packages = {posixpath.dirname(reference.owner) for reference in asked}
        interesting = _mentions(self.before.classes)
        named = {name for symbols in self.libraries for name in symbols.classes}
        last = {posixpath.basename(name) for name in named}
        users: list[tuple[str, ClassFile]] = []
        for location, jar in beside():
            for entry, content in _classes(location, jar):
                name = entry.removesuffix(".class")
                self.names.add(name)
                wanted = posixpath.dirname(name) in packages
                native = posixpath.basename(name) in last and any(
                    f"/{name}".endswith(f"/{text}") for text in named
                )
                if native or wanted or interesting(content):
                    one = _read(content)
                    if one is None:
                        continue
                    if native and any(method.access & NATIVE for method in one.methods):
                        self.native.append(one)
                    users.append((location, one))
                    if wanted:
                        self.outside[one.name] = one
        self._find_deriving([one for _location, one in users])
        self._follow(beside, users)
        old = Hierarchy(self.before.classes | self.deriving)
        new = Hierarchy(self.after.classes | self.deriving)
        found = set(self._needs(asked))
        for location, one in users:
            found.update(self._uses(location, one, old, new))
            if one.name in self.deriving:
                lacks = unimplemented(one, old, new)
                found.update(Missing(one.name, member, location, how) for member, how in lacks)
        return found

    def _find_deriving(self, classes: Sequence[ClassFile]) -> bool:
        known = len(self.deriving)
        while True:
            size = len(self.deriving)
            for one in classes:
                if any(name in self.before.classes or name in self.deriving for name in _parents(one)):
                    self.deriving[one.name] = one
            if len(self.deriving) == size:
                return size > known

    def _follow(self, beside: Callable[[], Iterable[Jar]], users: list[tuple[str, ClassFile]]) -> None:
        """Add the classes that use the library only through a class derived from it."""
        seen = {one.name for _location, one in users}
        fresh = set(self.deriving)
        while fresh:
            known = set(self.deriving)
            interesting = _mentions(fresh)
            for location, jar in beside():
                for entry, content in _classes(location, jar):
                    if entry.removesuffix(".class") not in seen and interesting(content):
                        one = _read(content)
                        if one is not None and any(ref.owner in fresh for ref in _references(one)):
                            seen.add(one.name)
                            users.append((location, one))
            self._find_deriving([one for _location, one in users])
            fresh = set(self.deriving) - known

    def _uses(self, location: str, caller: ClassFile, old: Hierarchy, new: Hierarchy) -> Iterator[Missing]:
        for reference in _references(caller):
            owner = reference.owner
            if owner not in old.classes:
                continue
            self.members.add(str(reference))
            if owner not in new.classes:
                how = "" if owner in self.names else "is gone"
            else:
                how = changed(old.find(reference), new.find(reference)) if reference.name else ""
            if how:
                yield Missing(caller.name, _spelled(reference), location, how)

    def _needs(self, asked: Iterable[Reference]) -> Iterator[Missing]:
        beside = Hierarchy(self.outside | self.after.classes)
        for reference in asked:
            if reference.owner not in self.names:
                how = "is nowhere in the class path"
            elif reference.name and reference.owner in self.outside:
                found = beside.find(reference)
                how = "is not there" if found == Found(None, frozenset()) else ""
            else:
                how = ""
            if how:
                users = [
                    one.name for one in self.after.classes.values() if reference in set(_references(one))
                ]
                yield Missing(users[0], _spelled(reference), self.after.jars[users[0]], how)


def _spelled(reference: Reference) -> str:
    return str(reference) if reference.name else reference.owner


def _parents(one: ClassFile) -> tuple[str, ...]:
    return (one.super_name, *one.interfaces)


def _mentions(names: Iterable[str]) -> Callable[[bytes], bool]:
    """Whether the bytes of a class hold the name of a package of these classes."""
    packages = sorted({posixpath.dirname(name) + "/" for name in names})
    shortest = [
        one for one in packages if not any(one != other and one.startswith(other) for other in packages)
    ]
    texts = [one.encode() for one in shortest]
    return lambda content: any(text in content for text in texts)


def _references(one: ClassFile) -> Iterator[Reference]:
    """Every class and member that the class names; a class alone has neither name nor descriptor."""
    pool = one.pool
    for index in pool.indexes(Tag.CLASS):
        name = pool.name(index)
        if name.startswith("["):
            name = name.lstrip("[")
            if not name.startswith("L"):
                continue
            name = name[1:-1]
        yield Reference(name, "", "")
    for index in pool.indexes(*MEMBERS):
        reference = pool.reference(index)
        if not reference.owner.startswith("["):
            yield reference


def _read(content: bytes) -> ClassFile | None:
    """A class beside; None for one that is no class file: no JVM would load it either."""
    try:
        return read_class(content)
    except InputError:
        return None


def _opened(location: str, content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except ZIP_DAMAGE as error:
        raise InputError(f"{location}: its zip structure is damaged: {error}.") from error


def _classes(location: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Every class of a jar, inflated without `ZipFile.read`, whose care costs more than the inflating."""
    try:
        with _opened(location, content) as jar:
            for info in jar.filelist:
                if not info.filename.endswith(".class"):
                    continue
                at = info.header_offset + 26
                start = at + 4 + sum(int.from_bytes(content[at + n : at + n + 2], "little") for n in (0, 2))
                packed = content[start : start + info.compress_size]
                stored = info.compress_type == zipfile.ZIP_STORED
                yield (
                    info.filename,
                    packed if stored else zlib_ng.decompressobj(-15).decompress(packed, info.file_size),
                )
    except ZIP_DAMAGE as error:
        raise InputError(f"{location}: its zip structure is damaged: {error}.") from error
