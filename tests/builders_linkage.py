"""Small classes with parents, and small libraries with symbols and JNINativeMethod tables."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from builders import AARCH64, jar_bytes
from builders_classfile import MadeClass

PUBLIC, PRIVATE, STATIC, FINAL, NATIVE, INTERFACE, ABSTRACT = 1, 2, 8, 16, 0x100, 0x200, 0x400
RELATIVE = {AARCH64: 1027, 62: 8}


@dataclass
class Class(MadeClass):
    """A made class with flags, a parent, interfaces and references to others."""

    parent: str = "java/lang/Object"
    interfaces: Sequence[str] = ()
    access: int = 0x0021
    uses: Sequence[str] = ()
    """Members as javap writes them (`a/B.c:()V`, a field without parentheses), or class names."""
    declares: Mapping[str, int] = field(default_factory=dict)
    """Methods `name(descriptor)`, or fields `name:type`, by their flags; no method has code."""

    def build(self) -> bytes:
        for name, access in self.declares.items():
            if "(" in name:
                self.method(name, None, access)
            else:
                title, _, kind = name.partition(":")
                self.fields.append(struct.pack(">HHHH", access, self.utf8(title), self.utf8(kind), 0))
        for use in self.uses:
            if "." in use:
                self.member(10 if "(" in use else 9, use)
            else:
                self.named(7, use)
        numbers = [self.named(7, name) for name in (self.name, self.parent, *self.interfaces)]
        tail = struct.pack(">HHHH", self.access, *numbers[:2], len(self.interfaces))
        tail += struct.pack(f">{len(self.interfaces)}H", *numbers[2:])
        for table in (self.fields, self.methods, self.attributes):
            tail += struct.pack(">H", len(table)) + b"".join(table)
        head = struct.pack(">IHHH", 0xCAFEBABE, 0, self.major, len(self.pool) + 1)
        return head + b"".join(self.pool) + tail


def class_jar(*classes: Class, files: Mapping[str, bytes] | None = None) -> bytes:
    """A jar of these classes, and of other entries."""
    return jar_bytes({f"{one.name}.class": one.build() for one in classes} | dict(files or {}))


def jni_library(
    exports: Sequence[str] = (),
    tables: Sequence[tuple[str, str]] = (),
    texts: Sequence[str] = (),
    *,
    machine: int = AARCH64,
    packed: bool = False,
) -> bytes:
    """A library that exports functions and registers methods; `packed` makes its relocations RELR."""
    names, symbols = b"\0", struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for name in exports:
        symbols += struct.pack("<IBBHQQ", len(names), 0x12, 0, 1, 0, 0)
        names += name.encode() + b"\0"
    rodata, places = b"\0", list[int]()
    for text in [*(part for row in tables for part in row), *texts]:
        places.append(len(rodata))
        rodata += text.encode() + b"\0"
    # The file is mapped as it is: an address is an offset.
    start = 64 + 56
    at_rodata = start + (-len(symbols) - len(names)) % 8 + len(symbols) + len(names)
    at_table = at_rodata + len(rodata) + -(at_rodata + len(rodata)) % 8
    pointers = [at_rodata + place for place in places[: 2 * len(tables)]]
    words = [word for one in zip(pointers[::2], pointers[1::2], strict=True) for word in (*one, 0x40)]
    table = struct.pack(f"<{len(words)}Q", *(words if packed else [0] * len(words)))
    if packed:
        bitmap = sum(1 << (bit + 1) for bit in range(len(words) - 1)) | 1
        relocations = struct.pack("<QQ", at_table, bitmap)
    else:
        rows = [(at_table + 8 * number, RELATIVE[machine], word) for number, word in enumerate(words)]
        relocations = b"".join(struct.pack("<QQq", *row) for row in rows)
    body = (symbols + names).ljust(at_rodata - start, b"\0") + rodata
    body = body.ljust(at_table - start, b"\0") + table
    at_relocations = start + len(body)
    shnames = b"\0.dynsym\0.dynstr\0.rodata\0.rela\0.shstrtab\0"
    at_shnames = at_relocations + len(relocations)

    def section(name: str, kind: int, offset: int, size: int, link: int, entry: int) -> bytes:
        at = shnames.index(b"\0" + name.encode() + b"\0") + 1
        return struct.pack("<IIQQQQIIQQ", at, kind, 2, offset, offset, size, link, 1, 8, entry)

    sections = bytes(64)
    sections += section(".dynsym", 11, start, len(symbols), 2, 24)
    sections += section(".dynstr", 3, start + len(symbols), len(names), 0, 0)
    sections += section(".rodata", 1, at_rodata, len(rodata), 0, 0)
    sections += section(
        ".rela", 19 if packed else 4, at_relocations, len(relocations), 1, 8 if packed else 24
    )
    sections += section(".shstrtab", 3, at_shnames, len(shnames), 0, 0)
    at_sections = at_shnames + len(shnames)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, at_sections, 0, 64, 56, 1, 64, 6, 5)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, at_sections, at_sections, 0x10000)
    return ident + head + load + body + relocations + shnames + sections
