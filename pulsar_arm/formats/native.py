"""Tell what machine a native file was built for, by its header and never by its name."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEAD_SIZE = 1024
"""Bytes of a file that `read_head` wants; PE stubs put their header within the first kilobyte."""

# System V gABI, e_machine (the registry of ELF machine numbers), by its name in `uname -m`.
_ELF_MACHINES = {
    2: "sparc",
    3: "x86",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    43: "sparcv9",
    50: "ia64",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
# Where both byte orders exist, `uname -m` has a name for each: (name, little endian).
_OTHER_ENDIAN = {
    ("ppc64", True): "ppc64le",
    ("mips", True): "mipsel",
    ("mips64", True): "mips64el",
    ("arm", False): "armeb",
    ("aarch64", False): "aarch64_be",
}
# gABI EI_OSABI values of systems that are not Linux; 0 (System V) and 3 (GNU) both mean Linux here.
_ELF_SYSTEMS = {1: "hpux", 2: "netbsd", 6: "solaris", 7: "aix", 9: "freebsd", 12: "openbsd"}
# PE/COFF specification, "Machine Types".
_PE_MACHINES = {0x014C: "x86", 0x8664: "x86_64", 0xAA64: "aarch64", 0x01C0: "arm", 0x01C4: "arm"}
# Mach-O cputype, <mach/machine.h>; 0x01000000 is the 64-bit flag.
_MACHO_MACHINES = {
    7: "x86",
    0x01000007: "x86_64",
    12: "arm",
    0x0100000C: "aarch64",
    18: "ppc",
    0x01000012: "ppc64",
}
_MACHO_MAGICS = {
    b"\xce\xfa\xed\xfe": "<",
    b"\xcf\xfa\xed\xfe": "<",
    b"\xfe\xed\xfa\xce": ">",
    b"\xfe\xed\xfa\xcf": ">",
}
_FAT_MAGIC = b"\xca\xfe\xba\xbe"
# A fat Mach-O shares its magic with class files, whose next four bytes are the version (JVMS 4.1):
# 45 or more for every class file ever made, while no fat file holds that many architectures.
_FAT_LIMIT = 30


@dataclass(frozen=True, slots=True)
class Head:
    """What the first bytes of a native file say."""

    format: str
    """`elf`, `pe` or `mach-o`."""
    machines: tuple[str, ...]
    """As `uname -m` says it (`x86_64`, `aarch64`, `ppc64le`); several for a fat Mach-O file."""
    system: str
    """`linux`, `windows`, `osx`, or a BSD's or Unix's name where the header tells."""


def read_head(head: bytes) -> Head | None:
    """What a file that begins with `head` is, or None when it is no native program or library."""
    if head[:4] == b"\x7fELF":
        return _read_elf(head)
    if head[:2] == b"MZ":
        return _read_pe(head)
    if head[:4] in _MACHO_MAGICS and len(head) >= 8:
        (cpu,) = struct.unpack_from(_MACHO_MAGICS[head[:4]] + "I", head, 4)
        return Head("mach-o", (_MACHO_MACHINES.get(cpu, f"cpu-{cpu}"),), "osx")
    if head[:4] == _FAT_MAGIC and len(head) >= 8:
        return _read_fat(head)
    return None


def _read_elf(head: bytes) -> Head | None:
    if len(head) < 20 or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    little = head[5] == 1
    (number,) = struct.unpack_from("<H" if little else ">H", head, 18)
    name = _ELF_MACHINES.get(number, f"em-{number}")
    if name == "mips" and head[4] == 2:
        name = "mips64"
    name = _OTHER_ENDIAN.get((name, little), name)
    return Head("elf", (name,), _ELF_SYSTEMS.get(head[7], "linux"))


def _read_pe(head: bytes) -> Head | None:
    if len(head) < 64:
        return None
    (offset,) = struct.unpack_from("<I", head, 60)
    if head[offset : offset + 4] != b"PE\0\0" or len(head) < offset + 6:
        return None
    (number,) = struct.unpack_from("<H", head, offset + 4)
    return Head("pe", (_PE_MACHINES.get(number, f"pe-{number:#x}"),), "windows")


def _read_fat(head: bytes) -> Head | None:
    (count,) = struct.unpack_from(">I", head, 4)
    if not 0 < count <= _FAT_LIMIT or len(head) < 8 + 20 * count:
        return None
    cpus = [struct.unpack_from(">I", head, 8 + 20 * index)[0] for index in range(count)]
    return Head("mach-o", tuple(_MACHO_MACHINES.get(cpu, f"cpu-{cpu}") for cpu in cpus), "osx")
