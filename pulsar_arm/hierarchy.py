"""Find members through superclasses and interfaces, as the JVM links them (JVMS 5.4.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pulsar_arm.formats.classfile import ClassFile, Reference

_PUBLIC, _PRIVATE, _PROTECTED, _STATIC, _FINAL = 0x1, 0x2, 0x4, 0x8, 0x10
_INTERFACE, _ABSTRACT = 0x200, 0x400
_OBJECT = "java/lang/Object"
# The methods that every class and interface has (java.lang.Object of any Java).
_OF_OBJECT = frozenset(
    {
        ("<init>", "()V"),
        ("getClass", "()Ljava/lang/Class;"),
        ("hashCode", "()I"),
        ("equals", "(Ljava/lang/Object;)Z"),
        ("clone", "()Ljava/lang/Object;"),
        ("toString", "()Ljava/lang/String;"),
        ("notify", "()V"),
        ("notifyAll", "()V"),
        ("wait", "()V"),
        ("wait", "(J)V"),
        ("wait", "(JI)V"),
        ("finalize", "()V"),
    }
)


@dataclass(frozen=True, slots=True)
class Found:
    """Where looking for a member has ended."""

    access: int | None
    """Its flags; None when no known class has it."""
    beyond: frozenset[str]
    """Classes not known here that may have it."""
    interface: bool = False
    """Whether the class that was named is an interface."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Classes by their internal names."""

    classes: Mapping[str, ClassFile]

    def find(self, reference: Reference) -> Found:
        """Look for a field or method in the class that is named, and in all it derives from."""
        beyond, waiting, seen = set[str](), [reference.owner], set[str]()
        owner = self.classes.get(reference.owner)
        interface = bool(owner and owner.access & _INTERFACE)
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            one = self.classes.get(name)
            if one is None:
                if name == _OBJECT and (reference.name, reference.descriptor) in _OF_OBJECT:
                    return Found(_PUBLIC, frozenset(), interface)
                if name != _OBJECT:
                    beyond.add(name)
                continue
            members = one.methods if reference.descriptor.startswith("(") else one.fields
            for member in members:
                if (member.name, member.descriptor) == (reference.name, reference.descriptor):
                    return Found(member.access, frozenset(), interface)
            # Constructors are not inherited (JVMS 5.4.3.3, 4.10.1.9).
            if reference.name != "<init>":
                waiting += [parent for parent in (one.super_name, *one.interfaces) if parent]
        return Found(None, frozenset(beyond), interface)

    def abstract(self, one: ClassFile, *, own: bool = False) -> dict[tuple[str, str], str]:
        """The abstract methods that a class inherits (or declares), each with the class that declares it."""
        found: dict[tuple[str, str], str] = {}
        for parent in self._line(one):
            if own or parent is not one:
                for method in parent.methods:
                    if method.access & _ABSTRACT:
                        found[method.name, method.descriptor] = parent.name
        return found

    def usable(self, one: ClassFile) -> set[Reference]:
        """Every member that is not private of a class and of the known classes it derives from."""
        return {
            Reference(one.name, member.name, member.descriptor)
            for parent in self._line(one)
            for member in (*parent.methods, *parent.fields)
            if not member.access & _PRIVATE and (parent is one or member.name != "<init>")
        }

    def beyond(self, one: ClassFile) -> set[str]:
        """The classes it derives from that are not known here."""
        parents = {name for parent in self._line(one) for name in (parent.super_name, *parent.interfaces)}
        return parents - set(self.classes)

    def _line(self, one: ClassFile) -> Iterator[ClassFile]:
        """The class itself and the known ones it derives from, each once."""
        waiting = [one]
        seen = set[str]()
        while waiting:
            parent = waiting.pop()
            if parent.name not in seen:
                seen.add(parent.name)
                yield parent
                above = (self.classes.get(name) for name in (parent.super_name, *parent.interfaces))
                waiting += [known for known in above if known is not None]


def changed(old: Found, new: Found) -> str:
    """What happened to a member between two hierarchies, as the end of a sentence; empty when it links."""
    if new.interface != old.interface:
        return "belongs to an interface now" if new.interface else "belongs to a class now"
    if new.access is None:
        if old.access is None:
            return "" if old.beyond <= new.beyond else "may have been inherited from a class that is gone"
        return "" if any(name.startswith("java/") for name in new.beyond) else "is gone"
    if old.access is None:
        return ""
    if (new.access ^ old.access) & _STATIC:
        return "is static now" if new.access & _STATIC else "is no longer static"
    return "is less accessible now" if _reach(new.access) < _reach(old.access) else ""


def losses(name: str, old: Hierarchy, new: Hierarchy) -> bool:
    """Whether a class lost anything that others could use or rely on, between two hierarchies."""
    before, after = old.classes[name], new.classes.get(name)
    if after is None or (after.access ^ before.access) & _INTERFACE or after.access & ~before.access & _FINAL:
        return True
    if set(new.abstract(after, own=True)) - set(old.abstract(before, own=True)):
        return True
    return any(
        changed(old.find(one), new.find(one)) or _sealed(old.find(one), new.find(one))
        for one in old.usable(before)
    ) or not (old.beyond(before) <= new.beyond(after))


def _sealed(old: Found, new: Found) -> bool:
    return bool((new.access or 0) & _FINAL and not (old.access or 0) & _FINAL)


def unimplemented(one: ClassFile, old: Hierarchy, new: Hierarchy) -> Iterator[tuple[str, str]]:
    """What a class that derives from changed ones would have to do, and does not: member and why."""
    parent = new.classes.get(one.super_name)
    if parent is not None and parent.access & _FINAL:
        yield parent.name, "is final now"
    for method in one.methods:
        if method.access & (_PRIVATE | _STATIC) or method.name == "<init>" or parent is None:
            continue
        above = new.find(Reference(parent.name, method.name, method.descriptor)).access or 0
        if above & _FINAL and not above & (_PRIVATE | _STATIC):
            yield f"{parent.name}.{method}", "is final now"
    if one.access & (_ABSTRACT | _INTERFACE):
        return
    before = old.abstract(one)
    for (name, descriptor), declares in new.abstract(one).items():
        if (name, descriptor) in before:
            continue
        found = new.find(Reference(one.name, name, descriptor))
        if found.access is not None and found.access & _ABSTRACT:
            yield f"{declares}.{name}:{descriptor}", "must be implemented now"


def _reach(access: int) -> int:
    if access & _PRIVATE:
        return 0
    return 3 if access & _PUBLIC else 2 if access & _PROTECTED else 1
