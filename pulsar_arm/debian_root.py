"""Make a root of Debian packages by unpacking alone, with what dpkg and its scripts would have left."""

from __future__ import annotations

import hashlib
import posixpath
import shutil
import ssl
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pulsar_arm.debian_definition import Definition
from pulsar_arm.errors import BuildError, InputError
from pulsar_arm.formats.deb import Control, read_control, read_files
from pulsar_arm.formats.jks import write_truststore
from pulsar_arm.formats.layer import Kind, LayerEntry

RECIPE = 2
"""Counts changes of this module that change the root; part of the key under which a base is kept."""

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# Folders that Debian since 10 has as links into /usr; what a package puts into /lib belongs into /usr/lib.
_CERTIFICATES = "usr/share/ca-certificates/mozilla"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A package with what its two archives hold."""

    control: Control
    paths: tuple[str, ...]
    """The packed paths with their leading slash, as dpkg's .list files have them."""


def make_root(packages: Sequence[Path], definition: Definition, folder: Path) -> tuple[LayerEntry, ...]:
    """The entries of a root made of the .deb files `packages`, by path; contents are laid into `folder`.

    No program of a package is run. BuildError when two packages, or the root and the definition, do not
    fit together; InputError when a package is damaged.
    """
    root = _Root(folder, definition)
    controls = [(path, read_control(path)) for path in packages]
    # base-files first: it owns the top folders, and the first package decides a folder's mode.
    controls.sort(key=lambda pair: (pair[1].field("Package") != "base-files", pair[1].field("Package")))
    unpacked = [Unpacked(control, tuple(root.unpack(path))) for path, control in controls]
    root.link_merged_folders()
    root.finish()
    _write_dpkg(root, unpacked)
    return tuple(entry for _, entry in sorted(root.entries.items()))


class _Root:
    """The growing root: path -> entry, in the layout of a merged /usr."""

    def __init__(self, folder: Path, definition: Definition) -> None:
        self.entries: dict[str, LayerEntry] = {}
        self._folder = folder
        self._files = 0
        self._definition = definition

    def unpack(self, package: Path) -> Iterator[str]:
        """Take over a package's files; gives their packed paths."""
        for member, content in read_files(package):
            packed = _relative(member.name, package)
            if not packed:
                yield "/."
                continue
            yield f"/{packed}"
            self._take(member, content, packed, package)

    def _take(self, member: tarfile.TarInfo, content: IO[bytes] | None, packed: str, package: Path) -> None:
        path = _merged(packed)
        if packed in _MERGED or self._is_dropped(path):
            return
        kind: Kind = "dir"
        link = ""
        source: Path | None = None
        if member.isdir():
            if path in self.entries and self.entries[path].kind == "dir":
                return
        elif member.issym():
            kind, link = "symlink", member.linkname
        elif member.islnk():
            kind, link = "hardlink", _merged(_relative(member.linkname, package))
        elif content is not None:
            kind = "file"
            self._files += 1
            source = self._folder / str(self._files)
            with source.open("xb") as target:
                shutil.copyfileobj(content, target)
        else:
            raise BuildError(
                f"{package.name} holds {member.name}, a device or pipe: it cannot be in an image."
            )
        self.entries[path] = LayerEntry(
            path, kind, member.mode & 0o7777, member.uid, member.gid, link, source
        )

    def _is_dropped(self, path: str) -> bool:
        if posixpath.basename(path) in self._definition.keep:
            return False
        return any(path.startswith(f"{folder}/") for folder in self._definition.drop)

    def read(self, path: str) -> bytes | None:
        """A file's content; None when there is no such file."""
        entry = self.entries.get(path)
        if entry is None or entry.kind != "file" or entry.source is None:
            return None
        return entry.source if isinstance(entry.source, bytes) else entry.source.read_bytes()

    def require(self, path: str) -> bytes:
        content = self.read(path)
        if content is None:
            raise BuildError(
                f"The packages of the Debian base bring no /{path}: its list of packages lacks one."
            )
        return content

    def add_folder(self, path: str, mode: int = 0o755) -> None:
        self.entries.setdefault(path, LayerEntry(path, "dir", mode))

    def add_file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self.entries[path] = LayerEntry(path, "file", mode, source=content)

    def add_link(self, path: str, target: str) -> None:
        self.entries[path] = LayerEntry(path, "symlink", 0o777, link=target)

    def link_merged_folders(self) -> None:
        tops = {
            path.split("/")[1] for path in self.entries if path.startswith("usr/") and path.count("/") > 1
        }
        for name in _MERGED:
            if name in tops:
                self.add_link(name, f"usr/{name}")

    def finish(self) -> None:
        """Do what the maintainer scripts do after unpacking."""
        define = self._definition
        masters = "usr/share/base-passwd"
        passwd = self.require(f"{masters}/passwd.master").decode()
        self.add_file("etc/passwd", f"{passwd}{define.user}\n".encode())
        self.add_file("etc/group", self.require(f"{masters}/group.master"))
        for path, origin in define.copies:
            content = self.read(origin)
            if content is not None and path not in self.entries:
                self.add_file(path, content)
        for path in define.folders:
            self.add_folder(path)
        for path, target in define.links:
            if self.entries.get(path) is None or not self._has_content(path):
                self.add_link(path, target)
        for path, line in define.append:
            entry = self.entries.get(path)
            content = self.read(path)
            if entry is not None and content is not None:
                self.entries[path] = replace(entry, source=content.rstrip(b"\n") + f"\n{line}\n".encode())
        for path, target in (*define.alternatives, *self._java_alternatives()):
            if target.lstrip("/") in self.entries and path not in self.entries:
                name = posixpath.basename(path)
                self.add_link(path, f"/etc/alternatives/{name}")
                self.add_link(f"etc/alternatives/{name}", target)
        self._trust_certificates()

    def _has_content(self, folder: str) -> bool:
        return any(path.startswith(f"{folder}/") for path in self.entries)

    def _java_alternatives(self) -> Iterator[tuple[str, str]]:
        for folder in self._definition.java_tools:
            prefix = folder.lstrip("/") + "/"
            tools = sorted(p for p, e in self.entries.items() if p.startswith(prefix) and e.mode & 0o111)
            if tools:
                yield from ((f"usr/bin/{posixpath.basename(tool)}", f"/{tool}") for tool in tools)
                return

    def _trust_certificates(self) -> None:
        """The bundle and links of update-ca-certificates, and the truststore of ca-certificates-java."""
        paths = sorted(p for p in self.entries if p.startswith(f"{_CERTIFICATES}/") and p.endswith(".crt"))
        if not paths:
            raise BuildError(
                "The Debian base has no certificates of authorities: add ca-certificates to its list."
            )
        bundle = b""
        trusted = []
        for path in paths:
            pem = self.require(path)
            bundle += pem.rstrip(b"\n") + b"\n"
            stem = posixpath.basename(path).removesuffix(".crt")
            self.add_link(f"etc/ssl/certs/{stem}.pem", f"/{path}")
            try:
                trusted.append((f"debian:{stem}.pem", ssl.PEM_cert_to_DER_cert(pem.decode().strip())))
            except ValueError as error:
                raise InputError(f"/{path} is not a certificate: {error}.") from error
        self.add_file("etc/ssl/certs/ca-certificates.crt", bundle)
        listed = "".join(f"mozilla/{posixpath.basename(path)}\n" for path in paths)
        self.add_file("etc/ca-certificates.conf", listed.encode())
        self.add_folder("etc/ssl/certs/java")
        self.add_file("etc/ssl/certs/java/cacerts", write_truststore(trusted))


def _write_dpkg(root: _Root, packages: Sequence[Unpacked]) -> None:
    """The package list of /var/lib/dpkg as dpkg leaves it: scanners and `dpkg -l` see the packages."""
    admin = "var/lib/dpkg"
    stanzas = []
    for package in sorted(packages, key=lambda one: one.control.field("Package")):
        control = package.control
        name = control.field("Package")
        if control.field("Multi-Arch") == "same":
            name += f":{control.field('Architecture')}"
        members = dict(control.members)
        stanzas.append(_status(control, members.get("conffiles", b"").decode(), root))
        listed = "".join(f"{path}\n" for path in package.paths)
        root.add_file(f"{admin}/info/{name}.list", listed.encode())
        for member, content in control.members:
            executable = member in {"preinst", "postinst", "prerm", "postrm", "config"}
            root.add_file(f"{admin}/info/{name}.{member}", content, 0o755 if executable else 0o644)
    root.add_file(f"{admin}/info/format", b"1\n")
    root.add_file(f"{admin}/status", "\n".join(stanzas).encode())
    for empty in ("available", "diversions", "statoverride"):
        root.add_file(f"{admin}/{empty}", b"")
    for folder in ("alternatives", "parts", "triggers", "updates"):
        root.add_folder(f"{admin}/{folder}")


def _status(control: Control, conffiles: str, root: _Root) -> str:
    first, _, rest = control.stanza.partition("\n")
    lines = [first, "Status: install ok installed", rest]
    hashed = []
    for path in conffiles.split("\n"):
        content = root.read(_merged(path.strip().lstrip("/"))) if path.startswith("/") else None
        if content is not None:
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            hashed.append(f" {path.strip()} {digest}\n")
    conffiles_field = "Conffiles:\n" + "".join(hashed) if hashed else ""
    return "\n".join(lines) + "\n" + conffiles_field


def _merged(path: str) -> str:
    """Where a packed path lies when /bin, /lib and their like are links into /usr."""
    return f"usr/{path}" if path.split("/", 1)[0] in _MERGED else path


def _relative(name: str, package: Path) -> str:
    path = posixpath.normpath(name).lstrip("/")
    if path.split("/", 1)[0] == "..":
        raise InputError(f"{package.name} holds {name}, which lies outside of the root: do not use it.")
    return "" if path == "." else path
