from __future__ import annotations

import struct

import pytest
from builders import elf_bytes, elf_head, fat_bytes, macho_bytes, pe_bytes
from hypothesis import given
from hypothesis import strategies as st

from pulsar_arm.formats.native import HEAD_SIZE, Head, read_head


@pytest.mark.parametrize(
    ("machine", "little", "bits", "name"),
    [
        (183, True, 64, "aarch64"),
        (183, False, 64, "aarch64_be"),
        (62, True, 64, "x86_64"),
        (3, True, 32, "x86"),
        (21, False, 64, "ppc64"),
        (21, True, 64, "ppc64le"),
        (20, False, 32, "ppc"),
        (22, False, 64, "s390x"),
        (40, True, 32, "arm"),
        (40, False, 32, "armeb"),
        (8, False, 32, "mips"),
        (8, True, 32, "mipsel"),
        (8, False, 64, "mips64"),
        (8, True, 64, "mips64el"),
        (243, True, 64, "riscv64"),
        (258, True, 64, "loongarch64"),
        (999, True, 64, "em-999"),
    ],
)
def test_an_elf_file_is_named_as_uname_would(machine: int, little: bool, bits: int, name: str) -> None:
    assert read_head(elf_head(machine, little=little, bits=bits)) == Head("elf", (name,), "linux")


@pytest.mark.parametrize(
    ("number", "system"),
    [(0, "linux"), (3, "linux"), (6, "solaris"), (9, "freebsd"), (12, "openbsd"), (97, "linux")],
)
def test_the_system_of_an_elf_file_is_told_by_its_abi_byte(number: int, system: str) -> None:
    found = read_head(elf_head(62, system=number))
    assert found is not None
    assert found.system == system


@pytest.mark.parametrize(
    ("machine", "name"), [(0x8664, "x86_64"), (0x014C, "x86"), (0xAA64, "aarch64"), (0x0200, "pe-0x200")]
)
def test_a_windows_library_is_told_by_its_pe_header(machine: int, name: str) -> None:
    assert read_head(pe_bytes(machine)) == Head("pe", (name,), "windows")


def test_a_dos_program_without_a_pe_header_is_no_native_of_today() -> None:
    assert read_head(b"MZ" + bytes(200)) is None
    assert read_head(pe_bytes()[:100]) is None
    assert read_head(b"MZ") is None


def test_a_pe_header_further_back_than_the_head_is_not_guessed() -> None:
    assert read_head(pe_bytes(at=HEAD_SIZE)[:HEAD_SIZE]) is None
    assert read_head(pe_bytes(at=HEAD_SIZE - 24)[:HEAD_SIZE]) == Head("pe", ("x86_64",), "windows")


@pytest.mark.parametrize("little", [True, False])
def test_a_mac_library_of_either_byte_order_is_read(little: bool) -> None:
    assert read_head(macho_bytes(0x0100000C, little=little)) == Head("mach-o", ("aarch64",), "osx")
    assert read_head(macho_bytes(99, little=little)) == Head("mach-o", ("cpu-99",), "osx")


def test_a_universal_mac_library_has_each_of_its_machines() -> None:
    assert read_head(fat_bytes(0x01000007, 0x0100000C)) == Head("mach-o", ("x86_64", "aarch64"), "osx")
    assert read_head(fat_bytes(7, 77)) == Head("mach-o", ("x86", "cpu-77"), "osx")
    assert read_head(fat_bytes(7, 77)[:-1]) is None


@pytest.mark.parametrize("version", [(0, 45), (3, 45), (0, 52), (0, 65), (65535, 61)])
def test_a_java_class_is_not_taken_for_a_universal_mac_library(version: tuple[int, int]) -> None:
    assert read_head(b"\xca\xfe\xba\xbe" + struct.pack(">HH", *version) + bytes(2000)) is None


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"\x7fEL", b"PK\x03\x04", b"#!/bin/sh\n", elf_bytes()[1:]]
)
def test_what_is_no_native_is_none(content: bytes) -> None:
    assert read_head(content) is None


def test_an_elf_header_of_an_unknown_class_or_byte_order_is_none() -> None:
    whole = elf_head(183)
    assert read_head(whole[:4] + b"\x03" + whole[5:]) is None
    assert read_head(whole[:5] + b"\x00" + whole[6:]) is None
    assert read_head(whole[:19]) is None


@given(
    st.sampled_from([b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xce", b""]),
    st.binary(max_size=200),
)
def test_hostile_bytes_give_a_head_or_nothing(magic: bytes, rest: bytes) -> None:
    found = read_head(magic + rest)
    assert found is None or (found.machines and all(found.machines))
