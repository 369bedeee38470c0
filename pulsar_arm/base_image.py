"""What an image offers as a base, read from its layers alone: Java, C library, packages."""

from __future__ import annotations

import posixpath
import re
import tarfile
from dataclasses import dataclass

from pulsar_arm.errors import InputError
from pulsar_arm.formats.blob import DAMAGED
from pulsar_arm.formats.oci import Image
from pulsar_arm.platforms import PLATFORMS, platform

_GLIBC = re.compile(r"(usr/)?lib(64)?/([^/]+/)?libc(\.so\.6|-[0-9.]+\.so)")
_GLIBC_BANNER = re.compile(rb"GNU C Library [^\n]* version ([0-9]+\.[0-9]+)")
_MUSL = re.compile(r"(usr/)?lib/ld-musl-[a-z0-9_]+\.so\.1")
_JVM = re.compile(r"(?P<home>.+?)/(jre/)?lib/([a-z0-9_]+/)?server/libjvm\.so")
_IMPLEMENTOR = re.compile(r'^IMPLEMENTOR="(.*)"$', re.MULTILINE)
_HEADER = 20
"""Bytes of an ELF header up to the end of e_machine (System V gABI)."""
_DPKG = "var/lib/dpkg/status"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found; a text is empty where nothing was."""

    java_home: str
    """JAVA_HOME of the config, else the folder in which a libjvm.so lies."""
    java_vendor: str
    """IMPLEMENTOR of Java's `release` file (JEP 223 and later; a JRE 8 has none)."""
    libc: str
    """`glibc-2.31`, from the banner in libc.so.6, or `musl`."""
    packages: tuple[tuple[str, str, str], ...]
    """Name, version and architecture from dpkg's status, sorted."""


def survey(image: Image) -> Survey:
    """Read all layers of `image` once.

    InputError when one is damaged, or when the C library is built for another machine than the image says:
    `docker import` and old builders put files of one platform under the name of another.
    """
    config = image.settings.get("config") or {}
    env = dict(line.partition("=")[::2] for line in config.get("Env") or ())
    libc, java_home, status = "", str(env.get("JAVA_HOME", "")).rstrip("/"), ""
    releases: dict[str, str] = {}
    for layer in image.layers:
        try:
            with layer.open_tar() as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isreg() else None
                    if content is None:
                        continue
                    path = posixpath.normpath(member.name).lstrip("/")
                    if _GLIBC.fullmatch(path):
                        library = content.read()
                        _require_machine(image, path, library)
                        version = read_glibc(library)
                        libc = f"glibc-{version}" if version else libc
                    elif _MUSL.fullmatch(path):
                        _require_machine(image, path, content.read(_HEADER))
                        libc = libc or "musl"
                    elif path == _DPKG:
                        status = content.read().decode(errors="replace")
                    elif path.endswith("/release"):
                        releases[f"/{posixpath.dirname(path)}"] = content.read(1 << 16).decode(
                            errors="replace"
                        )
                    elif not java_home and (found := _JVM.fullmatch(path)):
                        java_home = f"/{found['home']}"
        except DAMAGED as error:
            raise InputError(
                f"The layer {layer.digest} is damaged: {error}; fetch the image again."
            ) from error
    vendor = _IMPLEMENTOR.search(releases.get(java_home, ""))
    return Survey(java_home, vendor[1] if vendor else "", libc, _packages(status))


def _require_machine(image: Image, path: str, library: bytes) -> None:
    number = int.from_bytes(library[18:_HEADER], "little")
    if library.startswith(b"\x7fELF") and number != platform(image.platform).elf_machine:
        found = next((one.name for one in PLATFORMS if one.elf_machine == number), f"machine {number}")
        raise InputError(
            f"The image says it is for {image.platform}, but its /{path} is for {found}: choose a base that"
            " is what it says, or make the image again for its platform."
        )


def read_glibc(content: bytes) -> str:
    """The version in the banner of a libc.so.6, `2.31`, or empty."""
    banner = _GLIBC_BANNER.search(content)
    return banner[1].decode() if banner else ""


def _packages(status: str) -> tuple[tuple[str, str, str], ...]:
    found = []
    for stanza in status.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in stanza.splitlines() if not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            found.append(
                (fields.get("Package", ""), fields.get("Version", ""), fields.get("Architecture", ""))
            )
    return tuple(sorted(found))
