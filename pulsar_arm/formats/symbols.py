"""Read what a JNI library gives to Java: the functions it exports, and the tables it registers itself."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile

from pulsar_arm.errors import InputError
from pulsar_arm.formats.elf import BROKEN

_IDENTIFIER = re.compile(rb"[A-Za-z_$<][\w$>]*")
_CLASS = re.compile(rb"[A-Za-z_$][\w$]*(?:/[A-Za-z_$][\w$]*)*")
_TYPE = rb"\[*(?:[ZBCSIJFD]|L[^;.\[\0]+;)"
_DESCRIPTOR = re.compile(rb"\((?:" + _TYPE + rb")*\)(?:V|" + _TYPE + rb")")
_LONGEST = 512
"""Bytes of a name or descriptor that are looked at."""
# The relocation "base plus addend" by machine (psABI of each).
_RELATIVE = {"EM_AARCH64": 1027, "EM_X86_64": 8, "EM_PPC64": 22, "EM_S390": 12, "EM_RISCV": 3}
_RELR = 19  # section type SHT_RELR, gABI draft


@dataclass(frozen=True, slots=True)
class Symbols:
    """What Java can call in a library (JNI specification, chapters 2 and 5)."""

    exported: frozenset[str]
    """Names of the functions it defines for others, `Java_...` and `JNI_OnLoad` among them."""
    registered: frozenset[tuple[str, str]]
    """Name and descriptor of each method in its `JNINativeMethod` tables, as far as they are constant."""
    texts: frozenset[str]
    """Every identifier among its strings: what a table that is made at run time may name."""
    classes: frozenset[str]
    """Every string that may name a class, `org/conscrypt/NativeCrypto`, or the end of its name."""


def read_symbols(content: bytes) -> Symbols:
    """Read a 64-bit little-endian ELF library; InputError says what in it is broken."""
    try:
        elf = ELFFile(io.BytesIO(content))
        if elf.elfclass != 64 or not elf.little_endian:
            raise InputError("only 64-bit little-endian libraries can be judged for their JNI methods.")
        exported = frozenset(_exported(elf))
        # Most libraries name their methods by symbols; only one with JNI_OnLoad can register any.
        if "JNI_OnLoad" not in exported:
            return Symbols(exported, frozenset(), frozenset(), frozenset())
        texts = frozenset(_texts(elf))
        classes = frozenset(text for text in texts if "/" in text)
        return Symbols(exported, frozenset(_tables(elf, content)), texts - classes, classes)
    except BROKEN as error:
        raise InputError(f"its ELF structure is damaged: {error or type(error).__name__}") from error


def _exported(elf: ELFFile) -> Iterator[str]:
    for section in elf.iter_sections("SHT_DYNSYM"):
        names = elf.get_section(section["sh_link"]).data()
        for name, kind, _other, index, _value, _size in struct.iter_unpack("<IBBHQQ", section.data()):
            # Functions (STT_FUNC 2) that are defined here, global or weak (gABI 4, "Symbol Table").
            if index and kind & 15 == 2 and kind >> 4:
                yield names[name : names.index(b"\0", name)].decode("latin-1")


def _tables(elf: ELFFile, content: bytes) -> Iterator[tuple[str, str]]:
    """Three pointers in a row, to a name, a descriptor and a function, are a row of a table.

    In a file that may be loaded anywhere a relocation makes each pointer, so there they are found.
    """
    loads = [
        (segment["p_vaddr"], segment["p_filesz"], segment["p_offset"])
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD"
    ]

    def place(address: int) -> int | None:
        return next((at + address - start for start, size, at in loads if 0 <= address - start < size), None)

    def text(address: int | None) -> bytes:
        start = None if address is None else place(address)
        return b"" if start is None else content[start : start + _LONGEST].split(b"\0", 1)[0]

    pointers = dict(_pointers(elf, content, place))
    for address, target in pointers.items():
        descriptor = text(pointers.get(address + 8))
        if descriptor[:1] == b"(" and _DESCRIPTOR.fullmatch(descriptor):
            name = text(target)
            if _IDENTIFIER.fullmatch(name):
                yield name.decode(), descriptor.decode("utf-8", "replace")


def _pointers(elf: ELFFile, content: bytes, place: Callable[[int], int | None]) -> Iterator[tuple[int, int]]:
    """Address of a pointer, and the address it will point to, both relative to the load address."""
    relative = _RELATIVE.get(elf["e_machine"])
    for section in elf.iter_sections("SHT_RELA"):
        for address, kind, addend in struct.iter_unpack("<QQq", section.data()):
            if kind == relative:
                yield address, addend
    for section in elf.iter_sections():
        if section.header["sh_type"] in ("SHT_RELR", _RELR):
            for address in _packed(section.data()):
                at = place(address)
                if at is not None:
                    yield address, int.from_bytes(content[at : at + 8], "little")


def _packed(words: bytes) -> Iterator[int]:
    """The addresses that a RELR section names: an address, then bitmaps of the 63 words behind it."""
    base = 0
    for (word,) in struct.iter_unpack("<Q", words):
        if not word & 1:
            yield word
            base = word + 8
            continue
        yield from (base + 8 * bit for bit in range(63) if word >> (bit + 1) & 1)
        base += 8 * 63


def _texts(elf: ELFFile) -> Iterator[str]:
    for section in elf.iter_sections("SHT_PROGBITS"):
        if section.name.startswith(".rodata"):
            for one in section.data().split(b"\0"):
                if len(one) < _LONGEST and _CLASS.fullmatch(one):
                    yield one.decode()
