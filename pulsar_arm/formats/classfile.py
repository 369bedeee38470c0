"""Read a Java class file: its names, its constants, its methods and their code (JVMS chapter 4).

Written here because the pure-Python readers on PyPI (jawa 2.2, lawu 3.0) have stood still since 2019 and 2020
and do not judge hostile input; little is read, and the constant pool is decoded only where it is asked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from pulsar_arm.errors import InputError

_MAGIC = 0xCAFEBABE


class Tag(IntEnum):
    """Kinds of constants (JVMS table 4.4-A, Java 21)."""

    UTF8 = 1
    INTEGER = 3
    FLOAT = 4
    LONG = 5
    DOUBLE = 6
    CLASS = 7
    STRING = 8
    FIELDREF = 9
    METHODREF = 10
    INTERFACE_METHODREF = 11
    NAME_AND_TYPE = 12
    METHOD_HANDLE = 15
    METHOD_TYPE = 16
    DYNAMIC = 17
    INVOKE_DYNAMIC = 18
    MODULE = 19
    PACKAGE = 20


# Bytes after the tag; Utf8 is the one of variable length (JVMS 4.4.7).
_SIZES = (
    dict.fromkeys((7, 8, 16, 19, 20), 2)
    | {15: 3}
    | dict.fromkeys((3, 4, 9, 10, 11, 12, 17, 18), 4)
    | {5: 8, 6: 8}
)
_NUMBERS = {Tag.INTEGER: ">i", Tag.FLOAT: ">f", Tag.LONG: ">q", Tag.DOUBLE: ">d"}
_NAMED = frozenset({Tag.CLASS, Tag.STRING, Tag.METHOD_TYPE, Tag.MODULE, Tag.PACKAGE})
MEMBERS = frozenset({Tag.FIELDREF, Tag.METHODREF, Tag.INTERFACE_METHODREF})


@dataclass(frozen=True, slots=True)
class Reference:
    """A field or method as another class names it (JVMS 4.4.2)."""

    owner: str
    """Internal name of the class, `java/lang/String`; empty for what invokedynamic names."""
    name: str
    descriptor: str
    """`(Ljava/lang/Object;)Z` or, of a field, `I` (JVMS 4.3)."""

    def __str__(self) -> str:
        """As javap writes it: `java/lang/String.equals:(Ljava/lang/Object;)Z`."""
        member = f"{self.name}:{self.descriptor}"
        return f"{self.owner}.{member}" if self.owner else member


@dataclass(frozen=True, slots=True)
class ConstantPool:
    """The constants of one class, by index; a text is decoded when it is first asked for, and kept.

    Every method raises InputError when the index is out of range, of another kind, or points nowhere.
    """

    content: bytes
    """The whole class file."""
    place: str
    """Where the class file lies, for messages."""
    offsets: tuple[int, ...]
    """Per index the offset of the constant's tag; 0 for index 0 and the second half of a long or double."""
    end: int
    """Offset of the first byte after the pool."""
    _texts: dict[int, str] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """`constant_pool_count`: one more than the highest index."""
        return len(self.offsets)

    def tag(self, index: int) -> int:
        """The kind of a constant."""
        if not 0 < index < len(self.offsets) or not self.offsets[index]:
            raise _damaged(self.place, f"constant {index} does not exist")
        return self.content[self.offsets[index]]

    def text(self, index: int) -> str:
        """A Utf8 constant's text, from Java's modified UTF-8 (JVMS 4.4.7)."""
        if index not in self._texts:
            start = self._start(index, frozenset({Tag.UTF8}))
            raw = self.content[start + 2 : start + 2 + self._short(start)]
            try:
                self._texts[index] = raw.decode("ascii") if raw.isascii() else _decode(raw)
            except UnicodeDecodeError as error:
                raise _damaged(self.place, f"constant {index} is no valid text") from error
        return self._texts[index]

    def name(self, index: int) -> str:
        """The text that a Class, String, MethodType, Module or Package constant points to."""
        return self.text(self._short(self._start(index, _NAMED)))

    def number(self, index: int) -> int | float:
        """An Integer, Float, Long or Double constant."""
        start = self._start(index, frozenset(_NUMBERS))
        value: int | float = struct.unpack_from(_NUMBERS[Tag(self.tag(index))], self.content, start)[0]
        return value

    def reference(self, index: int) -> Reference:
        """The member that a Fieldref, Methodref, InterfaceMethodref, Dynamic or InvokeDynamic names."""
        start = self._start(index, MEMBERS | {Tag.DYNAMIC, Tag.INVOKE_DYNAMIC})
        owner = self.name(self._short(start)) if self.tag(index) in MEMBERS else ""
        pair = self._start(self._short(start + 2), frozenset({Tag.NAME_AND_TYPE}))
        return Reference(owner, self.text(self._short(pair)), self.text(self._short(pair + 2)))

    def indexes(self, *tags: int) -> Iterator[int]:
        """The indexes of all constants of these kinds, ascending."""
        return (index for index, offset in enumerate(self.offsets) if offset and self.content[offset] in tags)

    def _start(self, index: int, tags: frozenset[Tag]) -> int:
        tag = self.tag(index)
        if tag not in tags:
            wanted = " or ".join(sorted(one.name for one in tags))
            raise _damaged(self.place, f"constant {index} has tag {tag} where {wanted} belongs")
        return self.offsets[index] + 1

    def _short(self, offset: int) -> int:
        return int.from_bytes(self.content[offset : offset + 2])


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute's name and where its content lies in the class file (JVMS 4.7)."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Code:
    """A method's instructions (JVMS 4.7.3)."""

    content: bytes
    """The instructions' bytes, 1 to 65535 of them."""
    offset: int
    """Where they start in the class file."""
    max_stack: int
    max_locals: int


@dataclass(frozen=True, slots=True)
class Member:
    """A field or method that the class declares (JVMS 4.5, 4.6)."""

    access: int
    """Flags; 0x0008 static, 0x0100 native."""
    name: str
    descriptor: str
    attributes: tuple[Attribute, ...]
    code: Code | None
    """None for a field and for a native or abstract method."""

    def __str__(self) -> str:
        """The name with the descriptor behind it: `verifySlice()V`."""
        return f"{self.name}{self.descriptor}"


@dataclass(frozen=True, slots=True)
class ClassFile:
    """One class as its file tells it."""

    major: int
    """52 is Java 8, 61 is Java 17 (JVMS table 4.1-A)."""
    minor: int
    access: int
    name: str
    """Internal name, `java/lang/String`."""
    super_name: str
    """Empty for java/lang/Object and for a module."""
    interfaces: tuple[str, ...]
    fields: tuple[Member, ...]
    methods: tuple[Member, ...]
    attributes: tuple[Attribute, ...]
    pool: ConstantPool


def read_class(content: bytes, place: str = "class file") -> ClassFile:
    """Read a class file; `place` names it in messages.

    Raises InputError when it is no class file, ends early, goes on too long, or points to constants that are
    not there (JVMS 4.8). Names and descriptors are not judged further, and code is not verified.
    """
    cursor = _Cursor(content, place)
    if cursor.number(4) != _MAGIC:
        raise InputError(f"{place}: not a Java class file (it does not begin with CAFEBABE).")
    minor, major = cursor.number(2), cursor.number(2)
    pool = _read_pool(cursor)
    access, this_class, super_class = (cursor.number(2) for _ in range(3))
    interfaces = tuple(pool.name(cursor.number(2)) for _ in range(cursor.number(2)))
    fields = tuple(_read_member(cursor, pool) for _ in range(cursor.number(2)))
    methods = tuple(_read_member(cursor, pool) for _ in range(cursor.number(2)))
    attributes = _read_attributes(cursor, pool)
    if cursor.position != len(content):
        raise _damaged(place, f"{len(content) - cursor.position} bytes follow the end of the class")
    name, super_name = pool.name(this_class), pool.name(super_class) if super_class else ""
    return ClassFile(major, minor, access, name, super_name, interfaces, fields, methods, attributes, pool)


class _Cursor:
    """Reads on through the bytes; every step says where the file ended too early."""

    def __init__(self, content: bytes, place: str) -> None:
        self.content, self.place, self.position = content, place, 0

    def skip(self, size: int) -> int:
        start = self.position
        if start + size > len(self.content):
            raise _damaged(self.place, f"it ends at byte {len(self.content)}, in the middle of a part")
        self.position = start + size
        return start

    def number(self, size: int) -> int:
        start = self.skip(size)
        return int.from_bytes(self.content[start : start + size])


def _read_pool(cursor: _Cursor) -> ConstantPool:
    count = cursor.number(2)
    offsets = [0]
    while len(offsets) < count:
        offset = cursor.position
        tag = cursor.number(1)
        size = cursor.number(2) if tag == Tag.UTF8 else _SIZES.get(tag)
        if size is None:
            raise _damaged(cursor.place, f"constant {len(offsets)} has the unknown tag {tag}")
        cursor.skip(size)
        offsets.append(offset)
        if tag in (Tag.LONG, Tag.DOUBLE):
            offsets.append(0)  # they take two indexes, and the second must not be used (JVMS 4.4.5)
    if len(offsets) > max(count, 1):
        raise _damaged(cursor.place, "the last constant takes an index that does not exist")
    return ConstantPool(cursor.content, cursor.place, tuple(offsets), cursor.position)


def _read_member(cursor: _Cursor, pool: ConstantPool) -> Member:
    access, name, descriptor = (cursor.number(2) for _ in range(3))
    attributes = _read_attributes(cursor, pool)
    codes = [attribute for attribute in attributes if attribute.name == "Code"]
    if len(codes) > 1:
        raise _damaged(cursor.place, f"method {pool.text(name)} has its code twice")
    code = _read_code(cursor, codes[0]) if codes else None
    return Member(access, pool.text(name), pool.text(descriptor), attributes, code)


def _read_code(cursor: _Cursor, attribute: Attribute) -> Code:
    start = attribute.start + 8
    head = cursor.content[attribute.start : min(start, attribute.end)]
    max_stack, max_locals, length = struct.unpack(">HHI", head.ljust(8, b"\0"))
    if not 0 < length < 65536 or start + length > attribute.end:
        raise _damaged(cursor.place, f"the code at byte {attribute.start} has a wrong length")
    return Code(cursor.content[start : start + length], start, max_stack, max_locals)


def _read_attributes(cursor: _Cursor, pool: ConstantPool) -> tuple[Attribute, ...]:
    attributes = []
    for _ in range(cursor.number(2)):
        name = pool.text(cursor.number(2))
        start = cursor.skip(cursor.number(4))
        attributes.append(Attribute(name, start, cursor.position))
    return tuple(attributes)


def _decode(raw: bytes) -> str:
    """Modified UTF-8: zero in two bytes, characters beyond the first plane as two halves of three bytes."""
    halves = raw.replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
    return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _damaged(place: str, what: str) -> InputError:
    return InputError(f"{place}: the class file is damaged ({what}); take it again from its source.")
