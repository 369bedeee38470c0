"""Tiny real files made from a few words: jars, tarballs, ELF, PE and Mach-O, and a small Pulsar."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

AARCH64, X86_64, X86, PPC64 = 183, 62, 3, 21
TIME = (2020, 6, 17, 1, 2, 4)
MTIME = 1592355724


def jar_bytes(entries: Mapping[str, bytes], *, packed: bool = True, comment: bytes = b"") -> bytes:
    """A jar (or NAR) of these entries in their order; a name that ends in a slash is a folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as jar:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, TIME)
            info.external_attr = 0o640 << 16
            info.compress_type = jar.compression
            jar.writestr(info, content)
        jar.comment = comment
    return out.getvalue()


def pom(artifact: str, version: str) -> dict[str, bytes]:
    """The entry by which Maven's jars tell who they are."""
    content = f"#made\nversion={version}\ngroupId=org.made\nartifactId={artifact}\n"
    return {f"META-INF/maven/org.made/{artifact}/pom.properties": content.encode()}


@dataclass(frozen=True)
class Link:
    """A symbolic link in a made tarball."""

    target: str


@dataclass(frozen=True)
class HardLink:
    """A hard link in a made tarball."""

    target: str


@dataclass(frozen=True)
class Odd:
    """A member of another type: `tarfile.FIFOTYPE`, `tarfile.CHRTYPE`."""

    type: bytes


Made = bytes | None | Link | HardLink | Odd
"""What a made tarball holds under a name: a file's content, None for a folder, or one of the above."""


def tar_bytes(
    members: Mapping[str, Made] | Sequence[tuple[str, Made]], form: int = tarfile.PAX_FORMAT
) -> bytes:
    """A plain tar; as a sequence of pairs, names may stand twice."""
    out = io.BytesIO()
    pairs = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, made in pairs:
            info, content = tarfile.TarInfo(name), b""
            runs = made is None or "/bin/" in f"/{name}"
            info.mtime, info.mode = MTIME, 0o755 if runs else 0o644
            match made:
                case None:
                    info.type = tarfile.DIRTYPE
                case Link(target):
                    info.type, info.linkname = tarfile.SYMTYPE, target
                case HardLink(target):
                    info.type, info.linkname = tarfile.LNKTYPE, target
                case Odd(kind):
                    info.type = kind
                case bytes():
                    content = made
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tarball(path: Path, members: Mapping[str, Made] | Sequence[tuple[str, Made]]) -> Path:
    """A tarball at `path`, packed by gzip where the suffix says so."""
    content = tar_bytes(members)
    path.write_bytes(gzip.compress(content, 6, mtime=0) if path.name.endswith("gz") else content)
    return path


def elf_bytes(
    machine: int = AARCH64,
    *,
    needed: Sequence[str] = ("libc.so.6",),
    versions: Mapping[str, Sequence[str]] | None = None,
    soname: str = "",
    align: int = 0x10000,
    defines: Sequence[str] = (),
    weak: Sequence[str] = (),
    stack: int | None = None,
    text_relocations: bool = False,
    holds: bytes = b"",
) -> bytes:
    """A 64-bit little-endian shared library without code that ld.so would load.

    `versions` maps a needed library to the symbol versions wanted of it (.gnu.version_r), those in `weak`
    weakly; `defines` are the versions it defines (.gnu.version_d), `stack` the flags of PT_GNU_STACK, and
    `holds` stands among its strings.
    """
    versions = {"libc.so.6": ["GLIBC_2.17"]} if versions is None else versions
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text.encode()) - 1

    wanted = [(1, string(name)) for name in needed] + ([(14, string(soname))] if soname else [])
    verneed = b""
    for number, (library, symbols) in enumerate(versions.items()):
        last = number == len(versions) - 1
        size = 16 + 16 * len(symbols)
        verneed += struct.pack("<HHIII", 1, len(symbols), string(library), 16, 0 if last else size)
        for which, name in enumerate(symbols):
            after = 16 if which < len(symbols) - 1 else 0
            flags = 2 if name in weak else 0
            verneed += struct.pack("<IHHII", _elf_hash(name), flags, 2 + which, string(name), after)
    verdef = b""
    for number, name in enumerate(defines, 1):
        after = 28 if number < len(defines) else 0
        verdef += struct.pack("<HHHHIII", 1, 0, number, 1, _elf_hash(name), 20, after)
        verdef += struct.pack("<II", string(name), 0)
    strings.extend(holds)
    parts: dict[str, bytes] = {
        ".hash": struct.pack("<4I", 1, 1, 0, 0),
        ".dynsym": bytes(24),
        ".gnu.version": bytes(8),
        ".gnu.version_r": verneed,
        ".gnu.version_d": verdef,
        ".dynstr": bytes(strings) + bytes(-len(strings) % 8),
    }
    starts, at = {}, 64 + (2 + (stack is not None)) * 56
    for name, content in parts.items():
        starts[name], at = at, at + len(content)
    tags = [
        *wanted,
        (4, starts[".hash"]),
        (5, starts[".dynstr"]),
        (6, starts[".dynsym"]),
        (10, len(strings)),
        (11, 24),
        *([(0x6FFFFFFE, starts[".gnu.version_r"]), (0x6FFFFFFF, len(versions))] if versions else []),
        *([(0x6FFFFFFC, starts[".gnu.version_d"]), (0x6FFFFFFD, len(defines))] if defines else []),
        *([(0x6FFFFFF0, starts[".gnu.version"])] if versions else []),
        *([(22, 0)] if text_relocations else []),
        (0, 0),
    ]
    starts[".dynamic"] = at
    parts[".dynamic"] = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    # name: (type, flags, link, info, entry size), System V gABI figure 4-8; links count from 1.
    kinds = {
        ".hash": (5, 2, 2, 0, 4),
        ".dynsym": (11, 2, 6, 1, 24),
        ".gnu.version": (0x6FFFFFFF, 2, 2, 0, 2),
        ".gnu.version_r": (0x6FFFFFFE, 2, 6, len(versions), 0),
        ".gnu.version_d": (0x6FFFFFFD, 2, 6, len(defines), 0),
        ".dynstr": (3, 2, 0, 0, 0),
        ".dynamic": (6, 3, 6, 0, 16),
        ".shstrtab": (3, 0, 0, 0, 0),
    }
    names = b"\0" + b"".join(name.encode() + b"\0" for name in kinds)
    loaded = at + len(parts[".dynamic"])
    starts[".shstrtab"], parts[".shstrtab"] = loaded, names + bytes(-len(names) % 8)
    table = loaded + len(parts[".shstrtab"])
    sections = bytes(64)
    for name, (kind, flags, link, told, entry) in kinds.items():
        place = starts[name]
        spelled = names.index(b"\0" + name.encode() + b"\0") + 1
        head = (spelled, kind, flags, place if flags else 0, place, len(parts[name]), link, told, 8, entry)
        sections += struct.pack("<IIQQQQIIQQ", *head)
    segments = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, loaded, loaded, align)
    dynamic = (starts[".dynamic"],) * 3 + (len(parts[".dynamic"]),) * 2
    segments += struct.pack("<IIQQQQQQ", 2, 6, *dynamic, 8)
    if stack is not None:
        segments += struct.pack("<IIQQQQQQ", 0x6474E551, stack, 0, 0, 0, 0, 0, 16)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    fields = (3, machine, 1, 0, 64, table, 0, 64, 56, len(segments) // 56, 64, len(kinds) + 1, len(kinds))
    header = ident + struct.pack("<HHIQQQIHHHHHH", *fields)
    return header + segments + b"".join(parts.values()) + sections


def _elf_hash(name: str) -> int:
    """The hash of the System V gABI, which version records carry."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high
    return value & 0xFFFFFFFF


def elf_head(machine: int, *, little: bool = True, bits: int = 64, system: int = 0) -> bytes:
    """The first bytes of an ELF file of any kind."""
    ident = b"\x7fELF" + bytes([bits // 32, 1 if little else 2, 1, system]) + bytes(8)
    return ident + struct.pack("<HH" if little else ">HH", 3, machine)


def pe_bytes(machine: int = 0x8664, at: int = 0x80) -> bytes:
    """The head of a Windows DLL whose PE header lies at `at`."""
    stub = b"MZ" + bytes(58) + struct.pack("<I", at)
    return stub.ljust(at, b"\0") + b"PE\0\0" + struct.pack("<H", machine) + bytes(18)


def macho_bytes(cpu: int = 0x01000007, *, little: bool = True) -> bytes:
    """The head of a 64-bit Mach-O library."""
    return struct.pack("<II" if little else ">II", 0xFEEDFACF, cpu) + bytes(24)


def fat_bytes(*cpus: int) -> bytes:
    """The head of a universal Mach-O file."""
    rows = b"".join(struct.pack(">5I", cpu, 0, 0x4000, 64, 14) for cpu in cpus)
    return struct.pack(">II", 0xCAFEBABE, len(cpus)) + rows


def rocksdb_jar(version: str, *machines: int) -> bytes:
    """A rocksdbjni with libraries for these machines under the names its loader asks for."""
    names = {
        AARCH64: "librocksdbjni-linux-aarch64.so",
        X86_64: "librocksdbjni-linux64.so",
        X86: "librocksdbjni-linux32.so",
        PPC64: "librocksdbjni-linux-ppc64le.so",
    }
    entries = {names[machine]: elf_bytes(machine) for machine in machines}
    return jar_bytes({"org/rocksdb/RocksDB.class": b"\xca\xfe\xba\xbe\0\0\0\x34", **entries})


def pulsar_files(version: str = "9.9.9", rocksdb: str = "") -> dict[str, Made]:
    """A small Pulsar: what tells a release, one fatal gap (rocksdbjni), one clean jar, one script."""
    rocksdb = rocksdb or version
    return {
        "bin/pulsar": b"#!/usr/bin/env bash\nexec java\n",
        "conf/broker.conf": b"zookeeperServers=\n",
        f"lib/org.apache.pulsar-pulsar-broker-{version}.jar": jar_bytes({"a/B.class": b"\xca\xfe\xba\xbe"}),
        f"lib/org.rocksdb-rocksdbjni-{rocksdb}.jar": rocksdb_jar(rocksdb, X86_64, X86),
        "lib/org.made-plain-1.0.jar": jar_bytes({"a.txt": b"text"}),
        "README": b"A small Pulsar.\n",
    }


def pulsar_tarball(path: Path, version: str = "9.9.9", more: Mapping[str, Made] | None = None) -> Path:
    """The small Pulsar as its release tarball, below `apache-pulsar-VERSION`."""
    files = {**pulsar_files(version), **(more or {})}
    return tarball(path, {f"apache-pulsar-{version}/{name}": made for name, made in files.items()})


def pulsar_folder(path: Path, version: str = "9.9.9", more: Mapping[str, Made] | None = None) -> Path:
    """The small Pulsar unpacked."""
    for name, made in {**pulsar_files(version), **(more or {})}.items():
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(made, bytes):
            place.write_bytes(made)
        elif isinstance(made, Link):
            place.symlink_to(made.target)
        else:
            place.mkdir(exist_ok=True)
        if name.startswith("bin/"):
            place.chmod(0o755)
    return path
