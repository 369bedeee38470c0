from __future__ import annotations

import io
import os
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from builders import (
    AARCH64,
    X86_64,
    HardLink,
    Link,
    Made,
    Odd,
    elf_bytes,
    jar_bytes,
    macho_bytes,
    pe_bytes,
    pom,
    tar_bytes,
    tarball,
)
from builders_classfile import MadeClass
from hypothesis import given
from hypothesis import strategies as st

from pulsar_arm.formats.archive import Content, Member, read_directory
from pulsar_arm.formats.tar import read_tar
from pulsar_arm.walk import Container, Findings, FoundNative, Limits, Unreadable, walk

CHECK = "com/facebook/presto/server/PrestoSystemRequirements.class"


def members(files: dict[str, bytes]) -> Iterable[Content]:
    return [
        (Member(path, "file", 0o644, len(content)), io.BytesIO(content)) for path, content in files.items()
    ]


def walked(**files: bytes) -> Findings:
    """Walk through files whose names have `/` for `__` and `.` for `_`."""
    return walk(
        members({name.replace("__", "/").replace("_", "."): one for name, one in files.items()}), "aarch64"
    )


def only(findings: Findings) -> FoundNative:
    assert findings.unreadable == ()
    (native,) = findings.natives
    return native


def test_a_native_is_told_by_its_header_and_never_by_its_name() -> None:
    found = walked(
        lib__x_jar=jar_bytes({"readme.txt": elf_bytes(AARCH64), "fake.so": b"text", "a.dll": b"MZ"})
    )
    native = only(found)
    assert native.location == "lib/x.jar!/readme.txt"
    assert native.head.machines == ("aarch64",)
    assert native.elf is not None
    assert native.elf.requires == (("GLIBC", "2.17"),)


def test_only_the_targets_libraries_are_read_whole() -> None:
    found = walked(
        x_jar=jar_bytes({"a": elf_bytes(X86_64), "b": pe_bytes(), "c": macho_bytes(), "d": elf_bytes()})
    )
    assert [(native.entry, native.head.format, native.elf is not None) for native in found.natives] == [
        ("a", "elf", False),
        ("b", "pe", False),
        ("c", "mach-o", False),
        ("d", "elf", True),
    ]
    other = walk(members({"x.jar": jar_bytes({"a": elf_bytes(X86_64), "d": elf_bytes()})}), "x86_64")
    assert [native.elf is not None for native in other.natives] == [True, False]


@pytest.mark.parametrize("packed", [True, False])
def test_packed_and_stored_entries_are_read_alike(packed: bool) -> None:
    assert only(walked(x_jar=jar_bytes({"n": elf_bytes() + os.urandom(9000)}, packed=packed))).entry == "n"


def test_classes_are_passed_over_but_for_the_platform_checks() -> None:
    check = MadeClass("a/B").build()
    found = walked(x_jar=jar_bytes({"a/N.class": elf_bytes(), CHECK: check, f"other/{CHECK}": check}))
    assert found.natives == ()
    ((location, entry, content),) = [(one.location, one.entry, one.content) for one in found.classes]
    assert (location, entry, content) == ("x.jar", CHECK, check)


def test_a_jar_in_a_nar_in_a_tarball_is_found_with_its_scope(tmp_path: Path) -> None:
    nar = jar_bytes(
        {"META-INF/bundled-dependencies/x-1.0.jar": jar_bytes({"n.so": elf_bytes()}), "own.so": elf_bytes()}
    )
    found = walk(
        read_tar(
            tarball(
                tmp_path / "x.tar.gz", {"top/c.nar": nar, "top/lib/y-2.jar": jar_bytes({"n.so": elf_bytes()})}
            )
        ),
        "aarch64",
    )
    assert [(one.location, one.container.scope, one.container.library) for one in found.natives] == [
        ("top/c.nar!/META-INF/bundled-dependencies/x-1.0.jar!/n.so", "top/c.nar", "x"),
        ("top/c.nar!/own.so", "top/c.nar", "c"),
        ("top/lib/y-2.jar!/n.so", "top/lib", "y"),
    ]


def nested(depth: int) -> bytes:
    content = elf_bytes()
    for number in range(depth):
        content = jar_bytes({"n.so" if number == 0 else "inner.jar": content}, packed=False)
    return content


def test_archives_are_followed_eight_deep_and_then_told() -> None:
    assert only(walked(x_jar=nested(8))).location == "x.jar" + "!/inner.jar" * 7 + "!/n.so"
    found = walked(x_jar=nested(10))
    assert found.natives == ()
    assert found.unreadable == (
        Unreadable("x.jar" + "!/inner.jar" * 8, "it lies more than 8 archives deep (--max-depth)"),
    )


@pytest.mark.parametrize(
    ("path", "scope", "library"),
    [
        ("lib/presto/bin/procname/Linux-x86_64/libprocname.so", "lib/presto/bin/procname", "libprocname"),
        ("native/linux-aarch64/a.so.1.2", "native", "a"),
        ("native/amd64/a.so", "native", "a"),
        ("native/notes/a.so", "native/notes", "a"),
        ("a.so", ".", "a"),
    ],
)
def test_a_loose_file_belongs_to_the_folder_above_that_of_its_machine(
    path: str, scope: str, library: str
) -> None:
    native = only(walk(members({path: elf_bytes(X86_64)}), "aarch64"))
    assert native.container == Container(path, scope, library, "")
    assert (native.entry, native.location) == ("", path)
    assert native.elf is not None


def test_a_loose_file_of_another_system_is_not_read_further() -> None:
    class Once(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size == 1024
            return super().read(size)

    found = walk([(Member("a.dll", "file", 0o644, 9000), Once(pe_bytes() + bytes(9000)))], "aarch64")
    assert only(found).head.format == "pe"


NATIVE = {"n.so": elf_bytes()}


@pytest.mark.parametrize(
    ("name", "entries", "identity"),
    [
        ("io.netty-netty-all-4.1.48.Final.jar", {}, ("netty-all", "4.1.48.Final")),
        ("org.apache.bookkeeper-circe-checksum-4.10.0.jar", {}, ("circe-checksum", "4.10.0")),
        ("zstd-jni-1.3.7-3.jar", {}, ("zstd-jni", "1.3.7-3")),
        ("netty-tcnative-2.0.31.Final-linux-aarch_64.jar", {}, ("netty-tcnative", "2.0.31.Final")),
        ("x-1.0-SNAPSHOT.jar", {}, ("x", "1.0-SNAPSHOT")),
        ("x-1.0-rc2.jar", {}, ("x", "1.0-rc2")),
        ("plain.jar", {}, ("plain", "")),
        ("plain.jar", {"META-INF/MANIFEST.MF": b"Implementation-Version: 7.1\r\n"}, ("plain", "7.1")),
        ("plain.jar", {"META-INF/MANIFEST.MF": b"Bundle-Version: 7.2\n"}, ("plain", "7.2")),
        ("renamed.jar", pom("rocksdbjni", "5.13.3"), ("rocksdbjni", "5.13.3")),
        ("x-1.0.jar", {**pom("x", "1.0.1"), **pom("y", "2")}, ("x", "1.0.1")),
        ("y-all-3.jar", {**pom("y", "2"), **pom("y-all", "3")}, ("y-all", "3")),
        ("z-1.0.jar", {**pom("x", "1"), **pom("y", "2")}, ("z", "1.0")),
        ("libs.txt-1.0.jar", {}, ("libs.txt", "1.0")),
    ],
)
def test_a_library_is_named_by_its_pom_or_its_file_name(
    name: str, entries: dict[str, bytes], identity: tuple[str, str]
) -> None:
    native = only(walk(members({f"lib/{name}": jar_bytes({**entries, **NATIVE})}), "aarch64"))
    assert (native.container.library, native.container.version) == identity


@pytest.mark.parametrize(
    "name", ["a." * 30000 + "jar", "-1" * 30000 + "\n", "a-1" * 20000 + "\n.jar", "a_" * 30000]
)
def test_a_hostile_name_takes_no_time(name: str) -> None:
    started = time.process_time()
    found = walk(members({"x.jar": jar_bytes({name: jar_bytes(NATIVE)})}), "aarch64")
    assert len(found.natives) == 1
    assert time.process_time() - started < 3


def test_a_native_whose_structure_is_damaged_is_found_with_a_note() -> None:
    native = only(walked(x_jar=jar_bytes({"n.so": elf_bytes()[:300]})))
    assert native.elf is None
    assert native.damage.startswith("its ELF structure is damaged: ")
    assert only(walked(n_so=elf_bytes()[:300])).damage.startswith("its ELF structure is damaged: ")


def test_a_native_whose_packed_bytes_are_damaged_is_found_with_a_note() -> None:
    content = bytearray(jar_bytes({"n.so": elf_bytes()}, packed=False))
    content[600] ^= 0xFF
    native = only(walked(x_jar=bytes(content)))
    assert native.head.machines == ("aarch64",)
    assert native.damage == "its packed bytes are damaged: its checksum is wrong"


def flagged(content: bytes, at: int, value: int) -> bytes:
    """The jar with a byte of its first row in the directory changed."""
    made = bytearray(content)
    made[made.index(b"PK\x01\x02") + at] = value
    return bytes(made)


@pytest.mark.parametrize(("at", "value"), [(8, 1), (10, 12), (10, 99)])
def test_an_encrypted_or_strangely_packed_entry_is_told_and_the_rest_is_read(at: int, value: int) -> None:
    jar = flagged(jar_bytes({"secret": elf_bytes(), "n.so": elf_bytes()}), at, value)
    found = walked(x_jar=jar)
    assert [native.entry for native in found.natives] == ["n.so"]
    assert found.unreadable == (Unreadable("x.jar!/secret", "it is packed as Java cannot read it"),)


@pytest.mark.parametrize("cut", [4, 30, 100, -1, -23, -60])
def test_a_jar_that_is_cut_off_is_told_and_the_walk_goes_on(cut: int) -> None:
    found = walk(members({"a.jar": jar_bytes(NATIVE)[:cut], "b.jar": jar_bytes(NATIVE)}), "aarch64")
    assert [native.location for native in found.natives] == ["b.jar!/n.so"]
    ((location, reason),) = [(row.location, row.reason) for row in found.unreadable]
    assert location == "a.jar"
    assert reason.startswith("its zip structure is damaged: ")


def test_a_nested_jar_that_is_damaged_is_told_by_its_own_location() -> None:
    found = walked(x_nar=jar_bytes({"bad.jar": jar_bytes(NATIVE)[:-10], "good.jar": jar_bytes(NATIVE)}))
    assert [native.location for native in found.natives] == ["x.nar!/good.jar!/n.so"]
    assert [row.location for row in found.unreadable] == ["x.nar!/bad.jar"]


def sized(content: bytes, size: int) -> bytes:
    """The jar with another unpacked size of its first entry."""
    made = bytearray(content)
    struct.pack_into("<I", made, made.index(b"PK\x01\x02") + 24, size)
    return bytes(made)


class Stream(io.BytesIO):
    """A content as a tarball gives it: it cannot go back."""

    def seekable(self) -> bool:
        return False


def test_a_nested_archive_of_gigabytes_is_told_and_not_read() -> None:
    jar = sized(jar_bytes({"inner.jar": b"PK\x03\x04" + os.urandom(2000)}), 3 << 30)
    found = walked(x_jar=jar)
    assert found.unreadable == (Unreadable("x.jar!/inner.jar", "it is larger than 512 MiB (--max-entry)"),)


def test_a_file_of_gigabytes_is_told_and_not_read() -> None:
    member = Member("x.jar", "file", 0o644, 5 << 30)
    found = walk([(member, Stream(jar_bytes(NATIVE)))], "aarch64")
    assert found.unreadable == (Unreadable("x.jar", "it is larger than 512 MiB (--max-entry)"),)


def test_a_jar_on_disk_may_be_of_any_size(tmp_path: Path) -> None:
    with (tmp_path / "x.jar").open("wb") as file:
        file.write(jar_bytes({"before": b"it"}))
        file.seek(5 << 30)
        file.write(jar_bytes(NATIVE))
    assert only(walk(read_directory(tmp_path), "aarch64")).location == "x.jar!/n.so"


def limited(limits: Limits, **files: bytes) -> list[tuple[str, str]]:
    found = walk(members({name.replace("_", "."): one for name, one in files.items()}), "aarch64", limits)
    return [(row.location, row.reason) for row in found.unreadable]


def test_every_limit_is_told_with_its_option() -> None:
    jar = jar_bytes({"in.jar": jar_bytes({"in.jar": jar_bytes(NATIVE)}), "n.so": elf_bytes()})
    told = limited(Limits(depth=2), x_jar=jar)
    assert told == [("x.jar!/in.jar!/in.jar", "it lies more than 2 archives deep (--max-depth)")]
    told = limited(Limits(entry=1000), n_so=elf_bytes() + bytes(2000))
    assert told == [("n.so", "it is larger than 0 MiB (--max-entry)")]
    told = limited(Limits(total=1000), a_jar=jar, b_jar=jar)
    assert told == [("", "it has more than 0 MiB when unpacked (--max-total); the rest was not looked at")]
    told = limited(Limits(entries=2), a_jar=jar, b_jar=jar)
    assert told == [("", "it has more than 2 entries (--max-entries); the rest was not looked at")]


def test_a_hard_link_is_judged_at_its_own_path(tmp_path: Path) -> None:
    jar, twice = jar_bytes({**pom("x", "1"), **NATIVE}), jar_bytes({"inner.jar": jar_bytes(NATIVE)})
    made = {
        "lib/x-1.jar": jar,
        "lib/y-1.jar": jar_bytes({"a": b"text"}),
        "c.nar": twice,
        "plugin/z.jar": HardLink("lib/x-1.jar"),
        "plugin/y.jar": HardLink("lib/y-1.jar"),
        "d.nar": HardLink("c.nar"),
    }
    path = tarball(tmp_path / "x.tar.gz", made)
    found = walk(read_tar(path), "aarch64", again=lambda: read_tar(path))
    assert found.unreadable == ()
    assert [(one.location, one.container.scope, one.container.library) for one in found.natives] == [
        ("lib/x-1.jar!/n.so", "lib", "x"),
        ("c.nar!/inner.jar!/n.so", "c.nar", "inner"),
        ("plugin/z.jar!/n.so", "plugin", "x"),
        ("d.nar!/inner.jar!/n.so", "d.nar", "inner"),
    ]


def test_a_hard_link_whose_content_cannot_be_had_again_is_told(tmp_path: Path) -> None:
    path = tarball(tmp_path / "x.tar", {"x.jar": jar_bytes(NATIVE), "y.jar": HardLink("x.jar")})
    found = walk(read_tar(path), "aarch64")
    assert found.unreadable == (Unreadable("y.jar", "it is a hard link to x.jar, which could not be read"),)


def overlapping(count: int) -> bytes:
    """A zip of many entries that all have the bytes of the one nested archive in it."""
    inner = jar_bytes({f"{number}.txt": b"text" * 99 for number in range(9)})
    one = jar_bytes({"in.jar": inner}, packed=False)
    start = one.index(b"PK\x01\x02", one.index(inner) + len(inner))
    row, end = one[start : one.rindex(b"PK\x05\x06")], bytearray(one[one.rindex(b"PK\x05\x06") :])
    struct.pack_into("<2H2I", end, 8, count, count, count * len(row), start)
    return one[:start] + row * count + bytes(end)


def test_entries_that_overlap_are_told_and_not_read_over_and_over() -> None:
    assert [len(zipfile.ZipFile(io.BytesIO(overlapping(3))).namelist())] == [3]
    found = walked(x_jar=overlapping(60_000))
    reasons = {row.reason for row in found.unreadable}
    assert reasons == {"its packed bytes are damaged: its entries overlap"}


def test_one_damaged_entry_does_not_hide_the_others() -> None:
    content = bytearray(jar_bytes({"bad.bin": os.urandom(900), "n.so": elf_bytes()}, packed=False))
    content[100] ^= 0xFF
    found = walked(x_jar=bytes(content))
    assert [native.entry for native in found.natives] == ["n.so"]
    reason = "its packed bytes are damaged: its checksum is wrong"
    assert found.unreadable == (Unreadable("x.jar!/bad.bin", reason),)


def test_a_damaged_pom_is_told_and_the_file_name_tells_the_library() -> None:
    entries = {**pom("x", "1"), "n.so": elf_bytes()}
    content = bytearray(jar_bytes(entries, packed=False))
    content[content.index(b"version=1")] ^= 1
    found = walked(y__made__jar=bytes(content))
    assert [native.container.library for native in found.natives] == ["jar"]
    assert len(found.unreadable) == 2


def test_sixty_archives_inside_one_another_and_seventy_thousand_entries_are_fine() -> None:
    found = walked(x_jar=nested(60))
    assert [row.reason for row in found.unreadable] == ["it lies more than 8 archives deep (--max-depth)"]
    many = jar_bytes({**{f"{number}.txt": b"" for number in range(70_000)}, **NATIVE}, packed=False)
    assert only(walked(x_jar=many)).entry == "n.so"


@pytest.mark.parametrize("name", ["inner.jar", CHECK, "n.so", "META-INF/maven/g/x/pom.properties"])
def test_a_bomb_that_lies_about_its_size_fills_no_memory(name: str) -> None:
    """It says 2000 bytes and holds 64 MiB."""
    head = elf_bytes() if name == "n.so" else b"PK\x03\x04" if name == "inner.jar" else b""
    jar = sized(jar_bytes({name: head + bytes(64 << 20), **NATIVE}), 2000)
    tracemalloc.start()
    found = walked(x_jar=jar)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
    assert found.unreadable or any(native.damage for native in found.natives)


def test_a_jar_full_of_zeros_takes_no_more_memory_than_its_heads() -> None:
    jar = jar_bytes({f"{number}.bin": bytes(16 << 20) for number in range(4)})
    tracemalloc.start()
    assert walked(x_jar=jar).unreadable == ()
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(
    ("made", "location"),
    [
        ({"../evil.jar": jar_bytes(NATIVE)}, "../evil.jar"),
        ({"/evil.jar": jar_bytes(NATIVE)}, "/evil.jar"),
        ({"l": Link("/etc")}, "l"),
        ({"x": None, "x/y": Link(".."), "z": Link("x/y/..")}, "z"),
        ({"x": None, "x/y": Link("../x"), "x/y/f.jar": jar_bytes(NATIVE)}, "x/y/f.jar"),
        ({"pipe": Odd(tarfile.FIFOTYPE)}, "pipe"),
        ({"null": Odd(tarfile.CHRTYPE)}, "null"),
        ({"h": HardLink("../x")}, "h"),
    ],
)
def test_what_is_unsafe_is_told_and_not_looked_at(
    tmp_path: Path, made: dict[str, Made], location: str
) -> None:
    found = walk(read_tar(tarball(tmp_path / "x.tar", {**made, "good.jar": jar_bytes(NATIVE)})), "aarch64")
    assert [row.location for row in found.unreadable] == [location]
    assert found.unreadable[0].reason.endswith("; it was not looked at")
    assert [native.location for native in found.natives] == ["good.jar!/n.so"]


def test_a_symlink_loop_is_harmless(tmp_path: Path) -> None:
    found = walk(read_tar(tarball(tmp_path / "x.tar", {"a": Link("b"), "b": Link("a")})), "aarch64")
    assert found == Findings(("a", "b"), (), (), ())
    (tmp_path / "d").mkdir()
    (tmp_path / "d/loop").symlink_to(".")
    (tmp_path / "d/n.so").write_bytes(elf_bytes())
    assert only(walk(read_directory(tmp_path / "d"), "aarch64")).location == "n.so"


def test_a_damaged_tarball_keeps_what_was_seen_before(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes({"a.jar": jar_bytes(NATIVE), "b.jar": bytes(4000)})[:-9000])
    found = walk(read_tar(path), "aarch64")
    assert [native.location for native in found.natives] == ["a.jar!/n.so"]
    ((location, reason),) = [(row.location, row.reason) for row in found.unreadable]
    assert location == ""
    assert "is damaged or cut off" in reason


JAR = jar_bytes({**pom("x", "1"), CHECK: b"class", "n.so": elf_bytes(), "in.jar": jar_bytes(NATIVE)})
STORED = jar_bytes(
    {"n.so": elf_bytes()[:200], "in.jar": jar_bytes({"m.so": elf_bytes()[:200]})}, packed=False
)


@given(st.sampled_from([JAR, STORED]), st.dictionaries(st.integers(0, 9999), st.integers(0, 255), max_size=8))
def test_a_hostile_jar_gives_findings_and_never_an_exception(jar: bytes, changes: dict[int, int]) -> None:
    content = bytearray(jar)
    for at, value in changes.items():
        content[-1 - at % len(content)] = value
    assert walked(x_jar=bytes(content)).paths == ("x.jar",)


@given(st.integers(0, len(JAR)))
def test_a_jar_cut_anywhere_gives_findings_and_never_an_exception(length: int) -> None:
    found = walked(x_jar=JAR[:length])
    assert found.natives == () or length == len(JAR)


def test_the_made_hostile_jars_are_real_zips() -> None:
    assert zipfile.is_zipfile(io.BytesIO(JAR))
    assert len(walked(x_jar=JAR).natives) == 2
    assert len(walked(x_jar=STORED).natives) == 2
