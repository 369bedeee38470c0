from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import X86_64, elf_bytes
from builders_oci import file, folder, image_of, symlink

from pulsar_arm.base_runtime import image_runtime
from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.fitness import ANY_GLIBC, Runtime, misfit, named_runtime
from pulsar_arm.formats.elf import read_elf
from pulsar_arm.formats.layer import LayerEntry

OLD = named_runtime("glibc-2.28")
WIDE = named_runtime(page_size="64k")
IMAGE = Runtime(
    "glibc",
    "2.31",
    libraries={
        "libc.so.6": frozenset({"GLIBC_2.17", "GLIBC_2.31", "GLIBC_PRIVATE"}),
        "libstdc++.so.6": frozenset({"GLIBCXX_3.4.9", "GLIBCXX_3.4.10"}),
        "libz.so.1": frozenset(),
    },
    label="made.tar",
)


def judged(runtime: Runtime, *beside: str, **made: object) -> str | None:
    return misfit(read_elf(elf_bytes(**made)), runtime, beside)  # type: ignore[arg-type]


def test_nothing_is_asked_where_nothing_is_known() -> None:
    wants = {"libc.so.6": ["GLIBC_9.99"], "libstdc++.so.6": ["GLIBCXX_9.9"]}
    odd = {"versions": wants, "needed": ("libc.so.6", "libnowhere.so"), "align": 16, "stack": 7}
    assert judged(ANY_GLIBC, **odd, holds=b"<jemalloc>") is None


@pytest.mark.parametrize(
    ("version", "why"),
    [("2.9", None), ("2.28", None), ("2.29", "needs GLIBC_2.29, which glibc 2.28 lacks")],
)
def test_a_version_is_compared_by_its_numbers(version: str, why: str | None) -> None:
    assert judged(OLD, versions={"libm.so.6": [f"GLIBC_{version}"]}) == why


def test_of_a_system_known_by_its_libc_alone_other_libraries_are_not_judged() -> None:
    assert judged(OLD, needed=("libstdc++.so.6",), versions={"libstdc++.so.6": ["GLIBCXX_9.9"]}) is None


def test_another_libc_is_a_misfit_either_way() -> None:
    musl = {"needed": ("libc.musl-aarch64.so.1",), "versions": {}}
    assert judged(OLD, **musl) == "is built for musl, not for glibc, which it shall run on"
    assert judged(named_runtime("musl")) == "is built for glibc, not for musl, which it shall run on"
    assert judged(IMAGE, **musl) == "is built for musl, not for glibc, which made.tar has"
    assert judged(named_runtime("musl"), **musl) is None


def test_a_library_without_any_libc_fits_both() -> None:
    assert judged(named_runtime("musl"), needed=(), versions={}) is None


def test_a_needed_library_must_be_in_the_image_or_come_along() -> None:
    needs = {"needed": ("libc.so.6", "libcrypt.so.1", "libz.so.1"), "versions": {}}
    assert judged(IMAGE, **needs) == "needs libcrypt.so.1, which made.tar lacks"
    assert judged(IMAGE, "libcrypt.so.1", **needs) is None


def test_the_very_version_must_be_defined_and_the_highest_is_named() -> None:
    wants = {"libstdc++.so.6": ["GLIBCXX_3.4.9", "GLIBCXX_3.4.21", "GLIBCXX_3.4.11"]}
    assert judged(IMAGE, versions=wants) == ("needs GLIBCXX_3.4.21 of libstdc++.so.6, which made.tar lacks")
    assert judged(IMAGE, versions={"libstdc++.so.6": ["GLIBCXX_3.4.10"]}) is None
    assert judged(IMAGE, versions={"libc.so.6": ["GLIBC_PRIVATE"]}) is None
    assert judged(IMAGE, versions={"libc.so.6": ["GLIBC_2.99"]}, weak=["GLIBC_2.99"]) is None


def test_of_a_library_without_versions_any_is_taken() -> None:
    assert judged(IMAGE, versions={"libz.so.1": ["ZLIB_1.2"]}) is None


@pytest.mark.parametrize(("align", "fits"), [(0x1000, False), (0x4000, False), (0x10000, True)])
def test_a_segment_must_be_aligned_to_the_page(align: int, fits: bool) -> None:
    why = judged(WIDE, align=align)
    assert (why is None) is fits
    assert fits or str(why).startswith(f"has a LOAD segment aligned to {align // 1024} KiB, which a kernel")


def test_jemalloc_is_a_misfit_on_large_pages_only() -> None:
    assert "jemalloc" in str(judged(WIDE, holds=b"<jemalloc>: "))
    assert judged(named_runtime(page_size="4k"), holds=b"<jemalloc>: ") is None


@pytest.mark.parametrize(("libc", "fits"), [("glibc-2.40", True), ("glibc-2.41", False), ("musl", True)])
def test_an_executable_stack_is_refused_by_glibc_2_41(libc: str, fits: bool) -> None:
    assert (judged(named_runtime(libc), versions={}, needed=(), stack=7) is None) is fits


@pytest.mark.parametrize(
    "word", ["glibc-2", "glibc 2.28", "GLIBC", "musl-1.2.4", "uclibc", "glibc-2.28.x", ""]
)
def test_a_libc_that_is_not_known_is_told(word: str) -> None:
    if word:
        with pytest.raises(UsageError, match=r"write glibc-2\.28 or musl"):
            named_runtime(word)
    else:
        assert named_runtime(word) == ANY_GLIBC


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        (ANY_GLIBC, ""),
        (OLD, " with glibc 2.28"),
        (WIDE, " with pages of 64 KiB"),
        (named_runtime("musl", "16k"), " with musl and pages of 16 KiB"),
        (IMAGE, " with made.tar"),
    ],
)
def test_what_was_asked_about_is_told_behind_the_machine(runtime: Runtime, words: str) -> None:
    assert runtime.told == words


def test_musl_answers_to_the_names_of_its_parts() -> None:
    image = Runtime("musl", libraries={"libc.musl-aarch64.so.1": frozenset()}, label="alpine")
    needs = ("libc.musl-aarch64.so.1", "libm.so", "libpthread.so.0")
    assert misfit(replace(read_elf(elf_bytes(needed=needs, versions={})), libc="musl"), image) is None


LIBC = elf_bytes(
    soname="libc.so.6",
    defines=("libc.so.6", "GLIBC_2.17"),
    holds=b"GNU C Library (Made) stable release version 2.31.\n",
)


def runtime(tmp_path: Path, *layers: list[LayerEntry]) -> Runtime:
    return image_runtime(image_of(tmp_path / "blobs", *layers), "made")


def test_an_image_is_read_with_its_layers_overlaid(tmp_path: Path) -> None:
    triplet = "usr/lib/aarch64-linux-gnu"
    first = [
        file(f"{triplet}/libc-2.31.so", LIBC),
        symlink(f"{triplet}/libc.so.6", "libc-2.31.so"),
        file(f"{triplet}/libz.so.1.2.13", elf_bytes(soname="libz.so.1", defines=("ZLIB_1.2.9",))),
        symlink(f"{triplet}/libz.so.1", "libz.so.1.2.13"),
        file(f"{triplet}/libgone.so.1", elf_bytes(soname="libgone.so.1")),
        file(f"{triplet}/libtext.so", b"INPUT(-lz)"),
        file("opt/app/libhidden.so", elf_bytes(soname="libhidden.so")),
        file("opt/java/lib/libjava.so", elf_bytes(soname="libjava.so")),
        file("opt/java/lib/server/libjvm.so", elf_bytes(soname="libjvm.so")),
        file("opt/java/lib/libjawt.so", elf_bytes(soname="libjawt.so")),
    ]
    found = runtime(tmp_path, first, [file(f"{triplet}/.wh.libgone.so.1")])
    assert (found.libc, found.version, str(found)) == ("glibc", "2.31", "made")
    libc, libz = frozenset({"libc.so.6", "GLIBC_2.17"}), frozenset({"ZLIB_1.2.9"})
    assert found.libraries == {
        "libc.so.6": libc,
        "libc-2.31.so": libc,
        "libz.so.1": libz,
        "libz.so.1.2.13": libz,
        "libjava.so": frozenset(),
        "libjvm.so": frozenset(),
        "libjawt.so": frozenset(),
    }


def test_an_image_of_musl_is_told_by_its_loader(tmp_path: Path) -> None:
    found = runtime(tmp_path, [file("lib/ld-musl-aarch64.so.1", elf_bytes(needed=(), versions={}))])
    assert (found.libc, found.version) == ("musl", "")


def test_an_image_without_a_c_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no C library"):
        runtime(tmp_path, [folder("usr"), file("usr/lib/libx.so", elf_bytes(X86_64))])
