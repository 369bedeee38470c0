"""Go through a class path for what its classes would not find once a library there is replaced."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pulsar_arm.classpath import Jar, class_files
from pulsar_arm.errors import InputError
from pulsar_arm.formats.classfile import MEMBERS, ClassFile, Reference, Tag, read_class
from pulsar_arm.formats.jni import NATIVE
from pulsar_arm.hierarchy import Found, Hierarchy, changed, losses, unimplemented

_GIVEN = ("java/", "javax/", "jdk/", "sun/", "com/sun/", "org/w3c/", "org/xml/")
"""Packages that the JRE brings; what is asked of them is taken to be there."""
_FEW = 12
"""Names that are sought one by one; of more, their packages are."""


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


class Library:
    """The classes of the jars that change, and what they ask of others."""

    def __init__(self, jars: Sequence[Jar]) -> None:
        """Read them all; InputError names the jar that cannot be read."""
        self.classes: dict[str, ClassFile] = {}
        self.jars: dict[str, str] = {}
        for jar in jars:
            for entry, read in class_files(jar):
                if not entry.startswith("META-INF/") and not entry.endswith("module-info.class"):
                    one = read_class(read(), f"{jar[0]}!/{entry}")
                    self.classes[one.name] = one
                    self.jars[one.name] = jar[0]
        self.outward = {
            reference
            for one in self.classes.values()
            for reference in _references(one)
            if reference.owner not in self.classes and not reference.owner.startswith(_GIVEN)
        }


@dataclass(slots=True)
class Callers:
    """What the classes beside would not find, and what of them matters to others who judge."""

    before: Library
    after: Library
    named: Collection[str]
    """Classes that the new library names, by their whole names or the ends of them."""
    watched: Collection[str]
    """Classes of the library whose users are wanted, though nothing of theirs is lost."""
    deriving: dict[str, ClassFile] = field(default_factory=dict)
    """Classes beside that extend or implement one of the library's, straight or through others."""
    names: set[str] = field(default_factory=set)
    """Of all classes beside."""
    outside: dict[str, ClassFile] = field(default_factory=dict)
    """Classes beside in packages that only the new library asks something of."""
    members: set[str] = field(default_factory=set)
    """Members of the old library's lost and watched classes that classes beside name."""
    native: list[ClassFile] = field(default_factory=list)
    """Classes beside with native methods that the new library names, as a classifier jar's does."""

    def check(self, beside: Callable[[], Iterable[Jar]]) -> set[Missing]:
        """All that is missing.

        Most classes use nothing of what differs between the old and the new, and their bytes tell that: no
        name of it stands in them. Where nothing differs, they are not even inflated.
        """
        asked = self.after.outward - self.before.outward
        packages = {posixpath.dirname(reference.owner) for reference in asked}
        old, new = Hierarchy(self.before.classes), Hierarchy(self.after.classes)
        lost = {name for name in self.before.classes if losses(name, old, new)}
        interesting = _mentions(lost | set(self.watched))
        last = {posixpath.basename(name) for name in self.named}
        users: list[tuple[str, ClassFile]] = []
        for jar in beside():
            for entry, read in class_files(jar):
                name = entry.removesuffix(".class")
                self.names.add(name)
                wanted = posixpath.dirname(name) in packages
                native = posixpath.basename(name) in last and self._is_named(name)
                if not (native or wanted or interesting):
                    continue
                content = read()
                if native or wanted or (interesting and interesting(content)):
                    one = _read(content)
                    if one is None:
                        continue
                    if native and any(method.access & NATIVE for method in one.methods):
                        self.native.append(one)
                    users.append((jar[0], one))
                    if wanted:
                        self.outside[one.name] = one
        return self._judge(beside, users, asked)

    def _is_named(self, name: str) -> bool:
        return any(f"/{name}".endswith(f"/{text}") for text in self.named)

    def _judge(
        self,
        beside: Callable[[], Iterable[Jar]],
        users: list[tuple[str, ClassFile]],
        asked: Collection[Reference],
    ) -> set[Missing]:
        self._find_deriving([one for _location, one in users])
        self._follow(beside, users)
        old, new = self._hierarchies()
        found = set(self._needs(asked))
        for location, one in users:
            found.update(self._uses(location, one, old, new))
            if one.name in self.deriving:
                lacks = unimplemented(one, old, new)
                found.update(Missing(one.name, member, location, how) for member, how in lacks)
        return found

    def _hierarchies(self) -> tuple[Hierarchy, Hierarchy]:
        return (
            Hierarchy(self.before.classes | self.deriving),
            Hierarchy(self.after.classes | self.deriving),
        )

    def _find_deriving(self, classes: Sequence[ClassFile]) -> None:
        while True:
            size = len(self.deriving)
            for one in classes:
                if any(name in self.before.classes or name in self.deriving for name in _parents(one)):
                    self.deriving[one.name] = one
            if len(self.deriving) == size:
                return

    def _follow(self, beside: Callable[[], Iterable[Jar]], users: list[tuple[str, ClassFile]]) -> None:
        """Add the classes that use what is lost only through a class derived from the library's."""
        seen = {one.name for _location, one in users}
        followed = set[str]()
        while True:
            old, new = self._hierarchies()
            fresh = {name for name in self.deriving if name not in followed and losses(name, old, new)}
            interesting = _mentions(fresh)
            if interesting is None:
                return
            followed |= fresh
            for jar in beside():
                for entry, read in class_files(jar):
                    if entry.removesuffix(".class") in seen or not interesting(content := read()):
                        continue
                    one = _read(content)
                    if one is not None and any(ref.owner in fresh for ref in _references(one)):
                        seen.add(one.name)
                        users.append((jar[0], one))
            self._find_deriving([one for _location, one in users])

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


def _mentions(names: Collection[str]) -> Callable[[bytes], bool] | None:
    """Whether the bytes of a class hold one of these names, or its package's; None without any names."""
    if not names:
        return None
    wanted = set(names) if len(names) <= _FEW else {posixpath.dirname(name) + "/" for name in names}
    shortest = [one for one in wanted if not any(one != other and one.startswith(other) for other in wanted)]
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
