"""What an image offers to native libraries: its C library and every shared library, as they really are."""

from __future__ import annotations

import posixpath
import re

from pulsar_arm.base_image import read_glibc
from pulsar_arm.errors import InputError
from pulsar_arm.fitness import Runtime
from pulsar_arm.formats.blob import DAMAGED
from pulsar_arm.formats.elf import read_elf
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.root import root_entries

# Where ld.so looks without being told (ld.so(8)), with the folders that ld.so.conf adds to them.
_SEARCHED = re.compile(r"(?:usr/)?(?:local/)?lib(?:64)?(?:/[a-z0-9_]+-linux-[a-z]+)?")
_LIBRARY = re.compile(r".+\.so(?:\.[0-9.]+)?|ld-.+\.so\.[0-9]+")
_JVM = re.compile(r"lib(?:jvm|java)\.so")
"""What lies beside these is loaded by the JVM itself, or found because these are."""
_GLIBC, _MUSL = "libc.so.6", re.compile(r"(?:ld-musl-|libc\.musl-).+")


def image_runtime(image: Image, label: str) -> Runtime:
    """The system in `image`, its layers overlaid; InputError when it is damaged or has no C library."""
    found = dict[str, list[tuple[str, frozenset[str]]]]()
    java, version = set[str](), ""
    try:
        for item in root_entries(image):
            folder, name = posixpath.split(item.entry.path)
            if item.content is None or not _LIBRARY.fullmatch(name):
                continue
            content = item.content.read()
            if _JVM.fullmatch(name):
                java.add(folder)
            try:
                elf = read_elf(content)
            except InputError:
                continue  # a text for the linker is named .so too, and an odd file is no one's need
            # Before glibc 2.34 the file is libc-2.31.so, and a link has the name that is needed.
            if elf.soname == _GLIBC:
                version = read_glibc(content) or version
            found.setdefault(folder, []).extend((one, frozenset(elf.defines)) for one in {name, elf.soname})
    except DAMAGED as error:
        raise InputError(f"{label} is damaged: {error}; copy or download it again.") from error
    java |= {posixpath.dirname(folder) for folder in java if posixpath.basename(folder) == "server"}
    libraries = {
        soname: defines
        for folder, rows in found.items()
        if _SEARCHED.fullmatch(folder) or folder in java
        for soname, defines in rows
    }
    if _GLIBC in libraries:
        return Runtime("glibc", version, libraries=libraries, label=label)
    if any(_MUSL.fullmatch(name) for rows in found.values() for name, _defines in rows):
        return Runtime("musl", libraries=libraries, label=label)
    raise InputError(f"{label} has no C library (glibc or musl): choose an image with a Linux system.")
