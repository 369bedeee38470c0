"""Tell which files are one library built for several machines, by their names without the machine's."""

from __future__ import annotations

import re

# Words for machines and C libraries, as the jars of Maven's default repository spell them.
_MACHINE = re.compile(
    r"(?<=linux)(?:64|32)(?![a-z0-9])"
    r"|(?<![a-z0-9])(?:x86(?:[-_]?64|[-_]32)?|x64|amd64|i[3-6]86|aarch_?64|arm64|arm(?:v\d\w*|hf|el)?"
    r"|ppc(?:le)?_?64(?:le)?|ppc|s390(?:x|_64)?|riscv_?64|loong(?:arch)?_?64|mips\w*|sparc\w*"
    r"|64|32|glibc|musl|gnu)(?![a-z0-9])"
)


def family(path: str) -> str:
    """What is left of a path without the words for a machine or a C library, and all that divides words.

    `native/linux-x86_64/libx.so` and `native/linux-aarch64/libx.so` are of one family.
    """
    return re.sub(r"[^a-z0-9]+", "", _MACHINE.sub("", path.lower()))
