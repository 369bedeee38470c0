from __future__ import annotations

import ctypes
import platform
import re
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from builders import AARCH64, X86_64, elf_bytes
from hypothesis import example, given
from hypothesis import strategies as st

from pulsar_arm.errors import InputError
from pulsar_arm.formats.elf import Elf, read_elf

MANY = {
    "libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.14", "GLIBC_2.9"],
    "libstdc++.so.6": ["GLIBCXX_3.4.9", "CXXABI_1.3"],
}


def test_needs_versions_name_and_alignment_are_read() -> None:
    made = elf_bytes(needed=("libstdc++.so.6", "libc.so.6"), versions=MANY, soname="libx.so.1", align=0x4000)
    assert read_elf(made) == Elf(
        soname="libx.so.1",
        needed=("libstdc++.so.6", "libc.so.6"),
        libc="glibc",
        requires=(("CXXABI", "1.3"), ("GLIBC", "2.14"), ("GLIBCXX", "3.4.9")),
        versions=(
            ("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.14", "GLIBC_2.9")),
            ("libstdc++.so.6", ("GLIBCXX_3.4.9", "CXXABI_1.3")),
        ),
        defines=(),
        loads=(0x4000,),
        executable_stack=False,
        text_relocations=False,
        jemalloc=False,
    )


def test_what_a_library_gives_and_what_a_system_may_refuse_is_read() -> None:
    made = elf_bytes(
        defines=("libx.so", "X_1.0", "X_1.1"), stack=7, text_relocations=True, holds=b"<jemalloc>: "
    )
    found = read_elf(made)
    assert found.defines == ("libx.so", "X_1.0", "X_1.1")
    assert (found.executable_stack, found.text_relocations, found.jemalloc) == (True, True, True)
    assert not read_elf(elf_bytes(stack=6)).executable_stack


def test_a_weak_version_is_none_that_is_needed() -> None:
    found = read_elf(elf_bytes(versions={"libc.so.6": ["GLIBC_2.17", "GLIBC_2.99"]}, weak=["GLIBC_2.99"]))
    assert found.versions == (("libc.so.6", ("GLIBC_2.17",)),)


def test_versions_that_are_no_numbers_are_left_out() -> None:
    assert read_elf(elf_bytes(versions={"libc.so.6": ["GLIBC_PRIVATE", "GLIBC_2.17"]})).requires == (
        ("GLIBC", "2.17"),
    )


@pytest.mark.parametrize(
    ("needed", "libc"),
    [
        (("libc.so.6",), "glibc"),
        (("ld-linux-aarch64.so.1",), "glibc"),
        (("libc.musl-aarch64.so.1",), "musl"),
        (("libc.so",), "musl"),
        (("liblog.so", "libm.so"), "bionic"),
        (("libm.so.6",), ""),
        ((), ""),
    ],
)
def test_the_c_library_is_told_by_what_is_needed(needed: tuple[str, ...], libc: str) -> None:
    assert read_elf(elf_bytes(needed=needed, versions={})).libc == libc


def test_androids_c_library_is_told_by_its_version() -> None:
    assert read_elf(elf_bytes(needed=("libc.so",), versions={"libc.so": ["LIBC"]})).libc == "bionic"


def test_a_glibc_symbol_version_makes_it_glibc_whatever_is_needed() -> None:
    assert read_elf(elf_bytes(needed=("libm.so.6",), versions={"libm.so.6": ["GLIBC_2.29"]})).libc == "glibc"


def test_a_version_of_gccs_library_makes_it_no_glibc() -> None:
    wants = {"libgcc_s.so.1": ["GCC_3.0", "GLIBC_2.0"]}  # as in rocksdbjni's libraries for musl
    found = read_elf(elf_bytes(needed=("libgcc_s.so.1", "libc.musl-aarch64.so.1"), versions=wants))
    assert (found.libc, found.requires) == ("musl", (("GCC", "3.0"),))


@pytest.mark.skipif(not shutil.which("readelf"), reason="an independent reader: needs binutils")
@pytest.mark.parametrize("align", [0x1000, 0x10000])
def test_readelf_says_the_same(tmp_path: Path, align: int) -> None:
    made = tmp_path / "made.so"
    made.write_bytes(
        elf_bytes(
            AARCH64,
            needed=("libm.so.6", "libc.so.6"),
            versions=MANY,
            soname="x",
            align=align,
            defines=("x", "X_1"),
            stack=7,
            text_relocations=True,
        )
    )
    done = subprocess.run(
        ["readelf", "-W", "-h", "-d", "-V", "-l", made], capture_output=True, text=True, check=True
    )
    told, found = done.stdout, read_elf(made.read_bytes())
    assert done.stderr == ""
    assert "Machine:                           AArch64" in told
    assert tuple(re.findall(r"Shared library: \[(.*)\]", told)) == found.needed
    assert re.findall(r"soname: \[(.*)\]", told) == [found.soname]
    assert {int(row.split()[-1], 16) for row in re.findall(r"^ +LOAD.*", told, re.M)} == {found.page_align}
    wants, gives = told.split("Version definition section")
    assert re.findall(r"Name: (\S+)", wants) == [name for names in MANY.values() for name in names]
    assert tuple(re.findall(r"Name: (\S+)", gives)) == found.defines
    assert re.search(r"GNU_STACK .* RWE ", told)
    assert "(TEXTREL)" in told


@pytest.mark.skipif(platform.machine() != "x86_64", reason="loads a library of x86_64")
def test_the_made_library_is_one_that_ld_so_loads(tmp_path: Path) -> None:
    fits, asks_too_much = tmp_path / "fits.so", tmp_path / "asks.so"
    fits.write_bytes(elf_bytes(X86_64, versions={"libc.so.6": ["GLIBC_2.2.5"]}, align=0x1000))
    asks_too_much.write_bytes(elf_bytes(X86_64, versions={"libc.so.6": ["GLIBC_9.9"]}, align=0x1000))
    ctypes.CDLL(str(fits))
    with pytest.raises(OSError, match=r"GLIBC_9\.9"):
        ctypes.CDLL(str(asks_too_much))


@pytest.mark.parametrize("length", [0, 16, 63, 64, 100, 300, 500])
def test_a_library_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(InputError, match="its ELF structure is damaged"):
        read_elf(elf_bytes()[:length])


def test_a_segment_beyond_the_end_is_refused() -> None:
    whole = bytearray(elf_bytes())
    struct.pack_into("<Q", whole, 64 + 32, 1 << 40)  # p_filesz of the LOAD segment
    with pytest.raises(InputError, match="a LOAD segment lies beyond the end"):
        read_elf(bytes(whole))


@pytest.mark.parametrize(
    ("at", "form", "value"), [(54, "<H", 0), (58, "<H", 0), (60, "<H", 0xFEFF), (56, "<H", 9999)]
)
def test_tables_longer_than_the_file_are_refused_at_once(at: int, form: str, value: int) -> None:
    """With rows of no bytes a table of 2**64 of them would fit any file."""
    whole = bytearray(elf_bytes())
    struct.pack_into(form, whole, at, value)
    with pytest.raises(InputError, match="its header names tables that the file does not hold"):
        read_elf(bytes(whole))


def test_symbol_versions_chained_in_a_circle_are_refused_at_once() -> None:
    whole = bytearray(elf_bytes())
    sections = struct.unpack_from("<Q", whole, 40)[0]
    struct.pack_into("<I", whole, sections + 4 * 64 + 44, 1 << 30)  # sh_info of .gnu.version_r
    place = struct.unpack_from("<Q", whole, sections + 4 * 64 + 24)[0]
    struct.pack_into("<I", whole, place + 12, 0)  # vn_next: itself again
    with pytest.raises(InputError, match="its symbol versions are more than the file can hold"):
        read_elf(bytes(whole))


@given(st.dictionaries(st.integers(0, len(elf_bytes()) - 1), st.integers(0, 255), max_size=12))
@example({58: 0, 59: 0, 60: 0, 61: 0})
def test_a_damaged_library_is_read_or_refused_and_nothing_else(changes: dict[int, int]) -> None:
    whole = bytearray(elf_bytes())
    for at, value in changes.items():
        whole[at] = value
    with suppress(InputError):
        assert read_elf(bytes(whole)).libc in ("glibc", "musl", "bionic", "")


@given(st.binary(max_size=400))
def test_hostile_bytes_after_the_magic_are_refused_or_read(rest: bytes) -> None:
    with suppress(InputError):
        read_elf(b"\x7fELF\x02\x01\x01" + rest)
