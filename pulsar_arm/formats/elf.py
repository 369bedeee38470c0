"""Read what the dynamic loader will ask of a Linux library: needs, libc, symbol versions, segments."""

from __future__ import annotations

import io
import re
import struct

from elftools.common.exceptions import ELFError, ELFParseError
from elftools.construct import ConstructError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection

from pulsar_arm.errors import InputError
from pulsar_arm.formats.dynamic import Elf, version_order

_VERSION = re.compile(r"([A-Z]+)_([0-9][0-9.]*)$")
_VERSION_ROW = 16
"""Bytes of a Verneed or Vernaux record (gABI); they are chained by offsets, which may run in a circle."""
_WEAK = 2  # VER_FLG_WEAK (gABI, "Symbol Versioning"): the loader warns at most where it is not there
_EXECUTE = 1  # PF_X
_TEXTREL = 4  # DF_TEXTREL
_OF_GCC = "libgcc_s.so.1"
_JEMALLOC = b"<jemalloc>"
"""Every message of jemalloc begins so; an allocator that is linked in brings it along."""
# What pyelftools raises on bytes that are not what the header promises.
BROKEN = (
    ELFError,
    ELFParseError,
    ConstructError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    struct.error,
    TypeError,
    ValueError,
)


def read_elf(data: bytes) -> Elf:
    """Read a whole ELF file; InputError says what in it is broken."""
    try:
        return _read(ELFFile(io.BytesIO(data)), _JEMALLOC in data)
    except BROKEN as error:
        raise InputError(f"its ELF structure is damaged: {error or type(error).__name__}") from error


def _read(elf: ELFFile, jemalloc: bool) -> Elf:
    _believable(elf)
    soname, needed, loads = "", list[str](), list[int]()
    stack = text = False
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_LOAD":
            if segment["p_offset"] + segment["p_filesz"] > elf.stream_len:
                raise ELFError("a LOAD segment lies beyond the end of the file")
            loads.append(int(segment["p_align"]))
        if segment["p_type"] == "PT_GNU_STACK":
            stack = bool(segment["p_flags"] & _EXECUTE)
        if isinstance(segment, DynamicSegment):
            # A tag has its string under the tag's own name in small letters.
            needed += [str(vars(tag)["needed"]) for tag in segment.iter_tags("DT_NEEDED")]
            soname = next((str(vars(tag)["soname"]) for tag in segment.iter_tags("DT_SONAME")), "")
            flags = [tag.entry["d_val"] for tag in segment.iter_tags("DT_FLAGS")]
            text = any(segment.iter_tags("DT_TEXTREL")) or any(value & _TEXTREL for value in flags)
    wanted, requires, defines = _versions(elf)
    return Elf(
        soname=soname,
        needed=tuple(needed),
        libc=_libc(needed, requires, wanted),
        requires=tuple(sorted(requires.items())),
        versions=tuple((library, tuple(names)) for library, names in wanted.items()),
        defines=defines,
        loads=tuple(loads),
        executable_stack=stack,
        text_relocations=text,
        jemalloc=jemalloc,
    )


def _believable(elf: ELFFile) -> None:
    """Refuse tables longer than the file: each of their rows would be read, up to 2**64 of them."""
    for count, size, row in (
        (elf.num_segments(), elf["e_phentsize"], elf.structs.Elf_Phdr.sizeof()),
        (elf.num_sections(), elf["e_shentsize"], elf.structs.Elf_Shdr.sizeof()),
    ):
        if count and (size < row or count * size > elf.stream_len):
            raise ELFError("its header names tables that the file does not hold")


def _versions(elf: ELFFile) -> tuple[dict[str, list[str]], dict[str, str], tuple[str, ...]]:
    """The versions wanted of each library, the highest of each family, and those that are defined."""
    wanted, highest, defines = dict[str, list[str]](), dict[str, str](), list[str]()
    left = elf.stream_len // _VERSION_ROW
    for section in elf.iter_sections():
        if not isinstance(section, GNUVerNeedSection | GNUVerDefSection):
            continue
        for row, versions in section.iter_versions():
            left -= 1
            names = list[str]()
            for version in versions:
                left -= 1
                if left < 0:
                    raise ELFError("its symbol versions are more than the file can hold")
                # The first name of a definition is its own, those after it are what it inherits from.
                if isinstance(section, GNUVerDefSection):
                    defines += [version.name] if not names else []
                elif not version["vna_flags"] & _WEAK:
                    wanted.setdefault(str(row.name), []).append(version.name)
                names.append(version.name)
            for name in names if isinstance(section, GNUVerNeedSection) else ():
                match = _VERSION.match(name)
                # GCC's library has versions of that name too, on every C library.
                if match and (match[1], row.name) != ("GLIBC", _OF_GCC):
                    family, number = match[1], match[2]
                    highest[family] = max(highest.get(family, "0"), number, key=version_order)
    return wanted, highest, tuple(defines)


def _libc(needed: list[str], requires: dict[str, str], wanted: dict[str, list[str]]) -> str:
    if any(name.startswith(("libc.musl-", "ld-musl")) for name in needed):
        return "musl"
    if "GLIBC" in requires or any(name.startswith(("libc.so.6", "ld-linux")) for name in needed):
        return "glibc"
    # Android's C library and an unnamed musl are both libc.so; only Android's has versions.
    if {"liblog.so", "libandroid.so"} & set(needed) or "LIBC" in wanted.get("libc.so", ()):
        return "bionic"
    return "musl" if "libc.so" in needed else ""
