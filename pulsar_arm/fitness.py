"""Will a library load there? Judge what it asks of the system against what the system has.

The rules are those of the dynamic loaders: a needed library must be present and define the symbol
versions that are wanted of it, and the kernel must be able to map each LOAD segment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from pulsar_arm.errors import UsageError
from pulsar_arm.formats.dynamic import Elf, version_order

PAGE_SIZES = {"4k": 4096, "16k": 16384, "64k": 65536}
"""The pages that Linux on aarch64 can be built for, in bytes."""
_LIBC = re.compile(r"(?P<libc>glibc)(?:-(?P<version>[0-9]+(?:\.[0-9]+)+))?|musl")
_SMALLEST = PAGE_SIZES["4k"]
_NO_STACKS = (2, 41)
"""The glibc from which on dlopen refuses a library that wants an executable stack (its NEWS)."""
# musl's own file answers to these names (load_library in its ldso/dynlink.c), and has no versions.
_IN_MUSL = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\..*")


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a library shall run, as far as it is known."""

    libc: Literal["glibc", "musl"] = "glibc"
    version: str = ""
    """Of the C library: `2.28`; empty when unknown."""
    page_size: int = 0
    """Of the kernel, in bytes; 0 when unknown."""
    libraries: Mapping[str, frozenset[str]] | None = None
    """The sonames that are present, with the symbol versions each defines; None when unknown."""
    label: str = ""
    """What reports call it; else its C library."""

    @property
    def told(self) -> str:
        """What follows the machine: ` with glibc 2.28 and pages of 64 KiB`; empty for any glibc."""
        known = self.label or self.version or self.libc != "glibc"
        words = ([str(self)] if known else []) + (
            [f"pages of {_kib(self.page_size)}"] if self.page_size else []
        )
        return f" with {' and '.join(words)}" if words else ""

    def __str__(self) -> str:
        """`glibc 2.28`, or the name of the image that was read."""
        return self.label or f"{self.libc} {self.version}".strip()


ANY_GLIBC = Runtime()
"""What is taken where nothing is said: a system with glibc, whatever its version and pages."""


def named_runtime(libc: str | None = None, page_size: str | None = None) -> Runtime:
    """The system with this C library, `glibc-2.28` or `musl`, and pages of `4k`, `16k` or `64k`.

    UsageError for any other words. Without them it is a system with any glibc and any pages.
    """
    match = _LIBC.fullmatch(libc or "glibc")
    if not match:
        raise UsageError(f"{libc} is no C library that is known here: write glibc-2.28 or musl.")
    known = cast("Literal['glibc', 'musl']", match["libc"] or "musl")
    return with_pages(Runtime(known, match["version"] or ""), page_size)


def with_pages(runtime: Runtime, page_size: str | None) -> Runtime:
    """The same system on a kernel with pages of `4k`, `16k` or `64k`."""
    if page_size and page_size not in PAGE_SIZES:
        raise UsageError(f"{page_size} is no page size of aarch64: write {', '.join(PAGE_SIZES)}.")
    return replace(runtime, page_size=PAGE_SIZES[page_size]) if page_size else runtime


def misfit(elf: Elf, runtime: Runtime, beside: Collection[str] = ()) -> str | None:
    """Why a library would not load there, as the rest of a sentence about it; None when it would.

    `beside` are the sonames that come with it. What is not known of the runtime is not judged.
    """
    return next(_misfits(elf, runtime, beside), None)


def _misfits(elf: Elf, runtime: Runtime, beside: Collection[str]) -> Iterator[str]:
    if elf.libc not in (runtime.libc, ""):
        where = f"which {runtime} has" if runtime.label else "which it shall run on"
        yield f"is built for {elf.libc}, not for {runtime.libc}, {where}"
    if runtime.libraries is not None:
        yield from _lacks(elf, runtime, runtime.libraries, beside)
    elif wanted := _newer(elf, runtime):
        yield f"needs GLIBC_{wanted}, which {runtime} lacks"
    if small := [align for align in elf.loads if align < runtime.page_size]:
        kernel = f"a kernel with pages of {_kib(runtime.page_size)}"
        yield f"has a LOAD segment aligned to {_kib(min(small))}, which {kernel} cannot map"
    if elf.jemalloc and runtime.page_size > _SMALLEST:
        fixed = "the page size it was built for stands nowhere in it"
        yield f"holds jemalloc, which stops where pages are larger than it was built for, and {fixed}"
    if elf.executable_stack and runtime.libc == "glibc" and _at_least(runtime.version, _NO_STACKS):
        yield f"wants an executable stack, which glibc {runtime.version} refuses to a library"


def _lacks(
    elf: Elf, runtime: Runtime, libraries: Mapping[str, frozenset[str]], beside: Collection[str]
) -> Iterator[str]:
    there = {name for name in elf.needed if runtime.libc == "musl" and _IN_MUSL.fullmatch(name)}
    if missing := [name for name in elf.needed if name not in {*libraries, *beside, *there}]:
        yield f"needs {', '.join(missing)}, which {runtime} lacks"
    for library, wanted in elf.versions:
        # Of a library that defines no versions at all, ld.so takes any symbol.
        if defined := libraries.get(library):
            lacking = sorted(set(wanted) - defined, key=_by_number)
            if lacking:
                yield f"needs {lacking[-1]} of {library}, which {runtime} lacks"


def _by_number(name: str) -> tuple[tuple[int, ...], str]:
    family, _, number = name.rpartition("_")
    return (version_order(number) if re.fullmatch(r"[0-9.]+", number) else (), family)


def _newer(elf: Elf, runtime: Runtime) -> str:
    wanted = dict(elf.requires).get("GLIBC", "")
    known = bool(wanted and runtime.version) and runtime.libc == "glibc"
    return wanted if known and version_order(wanted) > version_order(runtime.version) else ""


def _at_least(version: str, least: tuple[int, ...]) -> bool:
    return bool(version) and version_order(version) >= least


def _kib(size: int) -> str:
    return f"{size // 1024} KiB" if size >= 1024 else f"{size} bytes"
