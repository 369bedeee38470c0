"""Read what the dynamic loader will ask of a Linux library: needs, libc, symbol versions, alignment."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass

from elftools.common.exceptions import ELFError, ELFParseError
from elftools.construct import ConstructError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from pulsar_arm.errors import InputError

_VERSION = re.compile(r"([A-Z]+)_([0-9][0-9.]*)$")
_VERSION_ROW = 16
"""Bytes of a Verneed or Vernaux record (gABI); they are chained by offsets, which may run in a circle."""
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


@dataclass(frozen=True, slots=True)
class Elf:
    """The dynamic side of an ELF library (gABI chapter 5)."""

    soname: str
    """DT_SONAME, or empty."""
    needed: tuple[str, ...]
    """DT_NEEDED, in order."""
    libc: str
    """`glibc`, `musl`, `bionic` (Android), or empty when the library needs none."""
    requires: tuple[tuple[str, str], ...]
    """The highest symbol version per family it needs: (("GLIBC", "2.17"), ...), sorted."""
    page_align: int
    """The smallest p_align of its LOAD segments, in bytes; 0 without any."""


def read_elf(data: bytes) -> Elf:
    """Read a whole ELF file; InputError says what in it is broken."""
    try:
        return _read(ELFFile(io.BytesIO(data)))
    except BROKEN as error:
        raise InputError(f"its ELF structure is damaged: {error or type(error).__name__}") from error


def _read(elf: ELFFile) -> Elf:
    _believable(elf)
    soname, needed, align = "", list[str](), list[int]()
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_LOAD":
            if segment["p_offset"] + segment["p_filesz"] > elf.stream_len:
                raise ELFError("a LOAD segment lies beyond the end of the file")
            align.append(int(segment["p_align"]))
        if isinstance(segment, DynamicSegment):
            # A tag has its string under the tag's own name in small letters.
            needed += [str(vars(tag)["needed"]) for tag in segment.iter_tags("DT_NEEDED")]
            soname = next((str(vars(tag)["soname"]) for tag in segment.iter_tags("DT_SONAME")), "")
    requires = _requires(elf)
    return Elf(
        soname, tuple(needed), _libc(needed, requires), tuple(sorted(requires.items())), min(align, default=0)
    )


def _believable(elf: ELFFile) -> None:
    """Refuse tables longer than the file: each of their rows would be read, up to 2**64 of them."""
    for count, size, row in (
        (elf.num_segments(), elf["e_phentsize"], elf.structs.Elf_Phdr.sizeof()),
        (elf.num_sections(), elf["e_shentsize"], elf.structs.Elf_Shdr.sizeof()),
    ):
        if count and (size < row or count * size > elf.stream_len):
            raise ELFError("its header names tables that the file does not hold")


def _requires(elf: ELFFile) -> dict[str, str]:
    highest: dict[str, str] = {}
    left = elf.stream_len // _VERSION_ROW
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _file, versions in section.iter_versions():
                left -= 1
                for version in versions:
                    left -= 1
                    if left < 0:
                        raise ELFError("its symbol versions are more than the file can hold")
                    if match := _VERSION.match(version.name):
                        family, number = match[1], match[2]
                        highest[family] = max(highest.get(family, "0"), number, key=_order)
    return highest


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)


def _libc(needed: list[str], requires: dict[str, str]) -> str:
    if "GLIBC" in requires or any(name.startswith(("libc.so.6", "ld-linux")) for name in needed):
        return "glibc"
    if any(name.startswith(("libc.musl-", "ld-musl")) for name in needed):
        return "musl"
    if any(name in ("libc.so", "liblog.so", "libandroid.so") for name in needed):
        return "bionic"
    return ""
