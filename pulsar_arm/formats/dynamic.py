"""What the dynamic loader will ask of a Linux library, as `elf` reads it."""

from __future__ import annotations

from dataclasses import dataclass


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
    versions: tuple[tuple[str, tuple[str, ...]], ...]
    """The symbol versions it cannot do without, by the library that has to define them."""
    defines: tuple[str, ...]
    """The symbol versions that it defines for others."""
    loads: tuple[int, ...]
    """p_align of each LOAD segment, in bytes."""
    executable_stack: bool
    """Whether it says that its code runs on the stack (PT_GNU_STACK)."""
    text_relocations: bool
    """Whether its code must be written to while it is loaded (DT_TEXTREL)."""
    jemalloc: bool
    """Whether jemalloc is linked in: its page size is fixed when it is built, and stands nowhere."""

    @property
    def page_align(self) -> int:
        """The smallest alignment of its LOAD segments, in bytes; 0 without any."""
        return min(self.loads, default=0)


def version_order(version: str) -> tuple[int, ...]:
    """`2.17` as a key by which versions are compared."""
    return tuple(int(part) for part in version.split(".") if part)
