"""Tiny real Debian packages and ELF libraries."""

from __future__ import annotations

import base64
import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

# A member of a package: bytes (a file), "-> target" (a link), "= path" (a hard link), None (a folder).
Member = bytes | str | None


def deb(
    folder: Path,
    name: str,
    members: Mapping[str, Member],
    *,
    version: str = "1.0-1",
    fields: str = "",
    control: Mapping[str, bytes] | None = None,
) -> Path:
    """A package file in `folder`."""
    stanza = f"Package: {name}\nVersion: {version}\nArchitecture: arm64\nMaintainer: us\n"
    stanza += f"{fields}Description: {name}\n"
    control_tar = _tar({"control": stanza.encode(), **(control or {})}, "w:gz")
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": control_tar, "data.tar.xz": _tar(members, "w:xz")}
    path = folder / f"{name}_{version.replace(':', '%3a')}_arm64.deb"
    content = b"!<arch>\n"
    for part, body in parts.items():
        content += f"{part:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode() + body
        content += b"\n" * (len(body) % 2)
    path.write_bytes(content)
    return path


def _tar(members: Mapping[str, Member], mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as tar:  # type: ignore[call-overload]
        for name, member in members.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.mode = 0o755
            if member is None:
                entry.type = tarfile.DIRTYPE
            elif isinstance(member, bytes):
                entry.size = len(member)
            elif member.startswith("-> "):
                entry.type, entry.linkname = tarfile.SYMTYPE, member[3:]
            elif member.startswith("= "):
                entry.type, entry.linkname = tarfile.LNKTYPE, f"./{member[2:]}"
            else:
                entry.type = tarfile.FIFOTYPE
            tar.addfile(entry, io.BytesIO(member) if isinstance(member, bytes) else None)
    return target.getvalue()


def certificate(content: bytes) -> bytes:
    """PEM around any bytes: enough for what is only copied."""
    body = base64.encodebytes(content)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def system(folder: Path, *, jre: int = 8, libc: str = "2.41-12") -> list[Path]:
    """The packages that every Debian base needs, with a file or two each."""
    home = f"usr/lib/jvm/java-{jre}-openjdk-arm64/jre/bin"
    return [
        deb(folder, "base-files", {"etc": None, "tmp": None, "usr/lib/os-release": b"ID=debian\n"}),
        deb(
            folder,
            "base-passwd",
            {
                "usr/share/base-passwd/passwd.master": b"root:*:0:0:root:/root:/bin/bash\n",
                "usr/share/base-passwd/group.master": b"root:*:0:\n",
            },
        ),
        deb(
            folder,
            "ca-certificates",
            {
                "usr/share/ca-certificates/mozilla/One.crt": certificate(b"first"),
                "usr/share/ca-certificates/mozilla/Two.crt": certificate(b"second"),
            },
        ),
        deb(folder, "libc6", {"lib/aarch64-linux-gnu/libc.so.6": b"\x7fELF"}, version=libc),
        deb(
            folder,
            f"openjdk-{jre}-jre-headless",
            {
                f"{home}/java": b"java",
                f"etc/java-{jre}-openjdk/security/java.security": b"a=b\n",
            },
        ),
    ]


def shared_library(
    machine: int, needed: Sequence[str] = (), *, symbol: str = "", version: tuple[str, str] | None = None
) -> bytes:
    """An ELF64 shared object that wants `needed`, the symbol `symbol`, and `version` of a needed library.

    As little as ld.so reads: one writable segment with dynamic section, string and symbol table.
    `version` is `(file, version)`: `("libc.so.6", "GLIBC_9.99")`.
    """
    strings = b"\0"

    def string(text: str) -> int:
        nonlocal strings
        strings += text.encode() + b"\0"
        return len(strings) - len(text) - 1

    wanted = [(1, string(one)) for one in needed]
    symbols = bytes(24)
    if symbol:
        symbols += struct.pack("<IBBHQQ", string(symbol), 0x12, 0, 0, 0, 0)
    verneed = b""
    if version is not None:
        file, name = (string(part) for part in version)
        elf_hash = 0
        for letter in version[1].encode():
            elf_hash = (elf_hash << 4) + letter
            high = elf_hash & 0xF0000000
            elf_hash = (elf_hash ^ (high >> 24)) & ~high
        verneed = struct.pack("<HHIII", 1, 1, file, 16, 0) + struct.pack("<IHHII", elf_hash, 0, 2, name, 0)
    strings += bytes(-len(strings) % 8)
    start = 64 + 2 * 56
    at_symbols = start + len(strings)
    at_verneed = at_symbols + len(symbols)
    at_rela = at_verneed + len(verneed)
    glob_dat = {62: 6, 183: 1025}[machine]
    at_slot = at_rela + (24 if symbol else 0)
    rela = struct.pack("<QQq", at_slot, 1 << 32 | glob_dat, 0) if symbol else b""
    at_versym = at_slot + 8
    versym = struct.pack("<HH", 0, 1) + bytes(4)
    at_hash = at_versym + len(versym)
    count = len(symbols) // 24
    hashed = struct.pack(f"<{3 + count}I", 1, count, 0, *[0] * count)
    hashed += bytes(-len(hashed) % 8)
    at_dynamic = at_hash + len(hashed)
    dynamic = [*wanted, (4, at_hash), (5, start), (10, len(strings)), (6, at_symbols), (11, 24)]
    if symbol:
        dynamic += [(7, at_rela), (8, 24), (9, 24)]
    if version is not None:
        dynamic += [(0x6FFFFFFE, at_verneed), (0x6FFFFFFF, 1), (0x6FFFFFF0, at_versym)]
    table = b"".join(struct.pack("<QQ", *row) for row in [*dynamic, (0, 0)])
    size = at_dynamic + len(table)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, size, size, 0x10000)
    there = struct.pack("<IIQQQQQQ", 2, 6, at_dynamic, at_dynamic, at_dynamic, len(table), len(table), 8)
    return header + load + there + strings + symbols + verneed + rela + bytes(8) + versym + hashed + table
