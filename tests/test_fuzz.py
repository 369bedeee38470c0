"""Readers under bytes that were made to break them: they give findings or one of our errors, nothing else.

`make fuzz` runs these, and every other property of the tests, with many more examples.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from backports import zstd
from builders import X86_64, HardLink, elf_bytes, fat_bytes, jar_bytes, pe_bytes, pom, tar_bytes
from builders_classfile import EQUALS, made_presto
from builders_oci import docker_archive, file, image_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulsar_arm.catalog import load_catalog
from pulsar_arm.distribution import open_source
from pulsar_arm.errors import InputError, PulsarArmError
from pulsar_arm.formats.archive import Member
from pulsar_arm.formats.elf import read_elf
from pulsar_arm.formats.native import read_head
from pulsar_arm.formats.zip import in_memory
from pulsar_arm.host.progress import Silent
from pulsar_arm.plan import plan
from pulsar_arm.platforms import AARCH64 as TARGET
from pulsar_arm.reports import FORMATS
from pulsar_arm.reports.findings import Report
from pulsar_arm.requirements import read_requirements
from pulsar_arm.scan import scan
from pulsar_arm.walk import Limits, walk

shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
CHECK = "com/facebook/presto/server/PrestoSystemRequirements.class"
PRESTO = made_presto(['ldc "amd64"', "aload_3", EQUALS]).build()
JAR = jar_bytes(
    {
        **pom("x", "1"),
        "META-INF/MANIFEST.MF": b"Implementation-Version: 1\r\n",
        CHECK: PRESTO,
        "n.so": elf_bytes(),
        "x.so": elf_bytes(X86_64),
        "w.dll": pe_bytes(),
        "m.dylib": fat_bytes(7, 0x0100000C),
        "in.jar": jar_bytes({"n.so": elf_bytes()}, packed=False),
    }
)
TAR = tar_bytes(
    {"top/lib/x-1.jar": JAR, "top/n.so": elf_bytes(), "top/lib/y.jar": HardLink("top/lib/x-1.jar")}
)
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}
CATALOG = load_catalog()
LIMITS = Limits(entry=1 << 20, depth=4, total=64 << 20, entries=10_000)


@st.composite
def damaged(draw: st.DrawFn, *samples: bytes) -> bytes:
    """One of the samples with bytes changed, a part doubled or left out, or its end cut off."""
    content = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content)))
        match draw(st.integers(0, 5)):
            case 0 | 1 if at < len(content):
                content[at] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
            case 2 if at + 4 <= len(content):
                content[at : at + 4] = draw(st.sampled_from((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff")))
            case 3:
                del content[at : at + draw(st.integers(0, 64))]
            case 4:
                content[at:at] = content[at : at + draw(st.integers(0, 64))]
            case _:
                del content[max(at, 1) :]
    return bytes(content)


@given(damaged(JAR, jar_bytes({"a": b"a" * 3000, "n.so": elf_bytes()}, packed=False)))
def test_any_jar_gives_findings(content: bytes) -> None:
    member = Member("x.jar", "file", 0o644, len(content))
    found = walk([(member, io.BytesIO(content))], "aarch64", LIMITS)
    assert found.paths == ("x.jar",)


@given(damaged(*(pack(TAR) for pack in FORMS.values()), JAR))
@shared_folder
def test_any_source_is_judged_and_told_in_every_format(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with suppress(PulsarArmError):
        found = scan(open_source("x", tmp_path / "x"), CATALOG, TARGET, Silent(), limits=LIMITS)
        report = Report(plan(found, CATALOG, ()))
        for name in FORMATS:
            text = FORMATS[name]([report])
            assert all(one.isprintable() or one == "\n" for one in text)
    assert (tmp_path / "x").read_bytes() == content


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("image")
    docker_archive(place / "x.tar", image_of(place, [file("pulsar/lib/x-1.jar", JAR), file("bin/sh", b"x")]))
    return (place / "x.tar").read_bytes()


@given(st.data())
@shared_folder
def test_any_image_is_judged_or_refused(tmp_path: Path, image: bytes, data: st.DataObject) -> None:
    (tmp_path / "x").write_bytes(data.draw(damaged(image, gzip.compress(image, 1))))
    with suppress(PulsarArmError):
        scan(open_source("x", tmp_path / "x"), CATALOG, TARGET, Silent(), limits=LIMITS)


@given(damaged(elf_bytes(), elf_bytes(X86_64), pe_bytes(), fat_bytes(7, 12)))
def test_any_native_is_read_or_refused(content: bytes) -> None:
    read_head(content)
    with suppress(InputError):
        read_elf(content)


@given(damaged(PRESTO))
def test_any_class_is_read_or_refused(content: bytes) -> None:
    with suppress(InputError):
        read_requirements(content)


NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40)


@given(
    st.dictionaries(NAMES, st.binary(max_size=3000), max_size=6),
    st.booleans(),
    st.binary(max_size=200),
    st.binary(max_size=40).filter(lambda comment: b"PK" not in comment),
)
def test_a_sound_zip_is_read_as_pythons_zipfile_reads_it(
    files: dict[str, bytes], packed: bool, before: bytes, comment: bytes
) -> None:
    content = before + jar_bytes(files, packed=packed, comment=comment)
    ours = in_memory(content)
    with zipfile.ZipFile(io.BytesIO(content)) as theirs:
        assert [entry.name for entry in ours.entries()] == theirs.namelist()
        for entry, info in zip(ours.entries(), theirs.filelist, strict=True):
            assert (entry.size, entry.packed, entry.crc) == (info.file_size, info.compress_size, info.CRC)
            assert ours.content(entry) == theirs.read(info)
            assert ours.open(entry).read(7) == theirs.read(info)[:7]


def test_a_zip64_is_read_as_pythons_zipfile_reads_it() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", allowZip64=True) as made:
        for number in range(70_000):
            made.writestr(zipfile.ZipInfo(f"{number}"), b"")
        with made.open("big", "w", force_zip64=True) as entry:
            entry.write(b"content")
    ours = in_memory(out.getvalue())
    entries = list(ours.entries())
    assert len(entries) == 70_001
    assert ours.content(entries[-1]) == b"content"


def hundred_gigabytes() -> Iterator[tuple[Member, io.BytesIO]]:
    yield Member("zeros", "file", 0o644, 100 << 30), io.BytesIO()


def test_a_member_beyond_the_total_is_not_even_read() -> None:
    (row,) = walk(hundred_gigabytes(), "aarch64").unreadable
    assert "--max-total" in row.reason
