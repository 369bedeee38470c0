from __future__ import annotations

import gzip
import io
import lzma
import os
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from backports import zstd
from builders import MTIME, HardLink, Link, Odd, tar_bytes, tarball
from hypothesis import given
from hypothesis import strategies as st

from pulsar_arm.errors import InputError
from pulsar_arm.formats.archive import Content, Member, read_directory, unsafe, write_tar
from pulsar_arm.formats.tar import read_tar

BIG = os.urandom(3000)
FILES = {"top": None, "top/a.txt": b"text", "top/big": BIG, "top/empty": b"", "top/l": Link("a.txt")}


def read(path: Path) -> list[tuple[str, str, bytes]]:
    return [
        (member.path, member.kind, content.read() if content else b"") for member, content in read_tar(path)
    ]


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.bin"])
def test_a_tarball_is_given_member_by_member_in_its_order(tmp_path: Path, name: str) -> None:
    assert read(tarball(tmp_path / name, FILES)) == [
        ("top", "dir", b""),
        ("top/a.txt", "file", b"text"),
        ("top/big", "file", BIG),
        ("top/empty", "file", b""),
        ("top/l", "symlink", b""),
    ]


def test_gzip_is_told_by_its_bytes_and_not_by_the_name(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(gzip.compress(tar_bytes(FILES)))
    assert len(read(path)) == 5


@pytest.mark.parametrize("pack", [lzma.compress, zstd.compress, gzip.compress])
def test_every_packing_is_told_by_its_bytes_and_may_have_several_streams(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    tar, path = tar_bytes(FILES), tmp_path / "x"
    path.write_bytes(pack(tar[:700]) + pack(tar[700:]))
    assert len(read(path)) == 5
    path.write_bytes(pack(tar[:700]) + bytes(512) + pack(tar[700:]) + bytes(1024))
    assert len(read(path)) == 5
    whole = pack(tar)
    for length in (7, len(whole) // 2, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is damaged or cut off"):
            read(path)


def test_an_xz_stream_that_wants_gigabytes_of_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    tar = tar_bytes(FILES)
    # Python packs with less than it is told for a small input: the size of the dictionary is one byte.
    packed = bytearray(lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    assert filters[0]["dict_size"] == 1 << 30
    header = packed[12 : 12 + 4 * (packed[12] + 1)]
    header[4] = 36  # xz file format, 5.3.1: 1 GiB
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    packed[12 : 12 + len(header)] = header
    (tmp_path / "x.tar.xz").write_bytes(packed)
    with pytest.raises(InputError, match="Memory usage limit"):
        read(tmp_path / "x.tar.xz")


def test_a_zstd_frame_that_wants_gigabytes_of_memory_is_refused(tmp_path: Path) -> None:
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    (tmp_path / "x.tar.zst").write_bytes(packer.compress(tar_bytes(FILES)) + packer.flush())
    with pytest.raises(InputError, match="is damaged or cut off"):
        read(tmp_path / "x.tar.zst")


def test_what_a_member_says_of_itself_is_told(tmp_path: Path) -> None:
    info = tarfile.TarInfo("./d/f")
    info.mode, info.uid, info.gid, info.uname, info.gname, info.mtime = 0o4751, 7, 8, "u", "g", MTIME
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(info, io.BytesIO())
        info.name, info.type, info.linkname = "./h", tarfile.LNKTYPE, "./d/f"
        tar.addfile(info)
    first, second = (member for member, _content in read_tar(tmp_path / "x.tar"))
    assert first == Member("d/f", "file", 0o4751, 0, MTIME, "", 7, 8, "u", "g")
    assert (second.path, second.kind, second.link) == ("h", "hardlink", "d/f")


def test_progress_is_told_in_compressed_bytes_to_the_last(tmp_path: Path) -> None:
    path, told = tarball(tmp_path / "x.tar.gz", FILES), list[int]()
    assert len(list(read_tar(path, told.append))) == 5
    assert sum(told) == path.stat().st_size


def test_a_reader_may_skip_contents_and_may_stop_early(tmp_path: Path) -> None:
    path = tarball(tmp_path / "x.tar.gz", {f"f{number}": bytes(1 << 20) for number in range(30)})
    assert len(list(read_tar(path))) == 30
    before = threading.active_count()
    members = read_tar(path)
    assert next(members)[0].path == "f0"
    members.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_very_long_and_foreign_names_are_kept(tmp_path: Path, form: int) -> None:
    names = ["d/" + "n" * 3000, "übermut/ß.txt", "raw-\udcff\udcfe"]
    (tmp_path / "x.tar").write_bytes(
        tar_bytes({name: name.encode("utf-8", "replace") for name in names}, form)
    )
    assert [member.path for member, _content in read_tar(tmp_path / "x.tar")] == names


WHOLE = tar_bytes({"a": b"a" * 700, "b": b"b" * 700, "c/" + "n" * 200: b"c"})
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    "length", [0, 1, 100, 511, 512, 513, 1023, 1024, 1536, 1537, 2048, 2560, 3072, 3584, 4608]
)
def test_a_plain_tar_that_is_cut_off_is_refused_wherever_the_cut_is(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(InputError, match=r"x\.tar is damaged or cut off|x\.tar is an empty tar"):
        read(path)
    assert path.read_bytes() == WHOLE[:length]


@given(st.integers(0, len(PACKED) - 1))
def test_a_gzip_tarball_that_is_cut_off_is_refused_wherever_the_cut_is(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "x.tar.gz"
    path.write_bytes(PACKED[:length])
    with pytest.raises(InputError, match=r"x\.tar\.gz is damaged or cut off"):
        read(path)


def test_the_members_before_the_damage_are_given(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(WHOLE[:1600])
    members = read_tar(path)
    assert next(members)[0].path == "a"
    with pytest.raises(InputError, match="cut off"):
        list(members)


def test_a_content_that_is_cut_off_is_told_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(WHOLE[:800])
    members = read_tar(path)
    _member, content = next(members)
    assert content is not None
    with pytest.raises(InputError, match=r"x\.tar is damaged or cut off: unexpected end of data"):
        content.read()


def test_a_content_read_after_its_archive_was_closed_is_told_and_does_not_wait(tmp_path: Path) -> None:
    """The thread that inflates is still busy then: what it had queued, and its end, are thrown away."""
    path = tmp_path / "x.tar"
    large = 40 << 20
    with path.open("wb") as raw, tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("large")
        info.size = large
        tar.addfile(info, io.BytesIO(bytes(large)))
    members = read_tar(path)
    _member, content = next(members)
    assert content is not None
    cast("Generator[Content, None, None]", members).close()
    with pytest.raises(InputError, match=r"x\.tar is damaged or cut off: unexpected end of data"):
        content.read()


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    """Plain tarfile stops there in silence, and a scan would miss what follows."""
    damaged = bytearray(WHOLE)
    damaged[1536 + 10] ^= 0xFF
    (tmp_path / "x.tar").write_bytes(damaged)
    with pytest.raises(InputError, match="bad checksum"):
        read(tmp_path / "x.tar")


@pytest.mark.parametrize("at", [-5, -1])
def test_a_wrong_gzip_checksum_or_length_is_refused(tmp_path: Path, at: int) -> None:
    damaged = bytearray(PACKED)
    damaged[at] ^= 0x55
    (tmp_path / "x.tar.gz").write_bytes(damaged)
    with pytest.raises(
        InputError, match=r"x\.tar\.gz is damaged or cut off: .*incorrect (data|length) check"
    ):
        read(tmp_path / "x.tar.gz")


@given(st.dictionaries(st.integers(0, 2047), st.integers(0, 255), min_size=1, max_size=6), st.booleans())
def test_hostile_tars_give_members_or_input_errors(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[int, int], packed: bool
) -> None:
    content = bytearray(PACKED if packed else WHOLE)
    for at, value in changes.items():
        content[at % len(content)] = value
    path = tmp_path_factory.mktemp("hostile") / "x.tar"
    path.write_bytes(content)
    with suppress(InputError):
        assert all(path for path, _kind, _content in read(path))


def pax_member(records: dict[str, str]) -> bytes:
    info = tarfile.TarInfo("f")
    info.pax_headers = records
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


@pytest.mark.parametrize("time", ["inf", "-inf", "nan", "1e300", "9" * 30])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, time: str) -> None:
    (tmp_path / "x.tar").write_bytes(pax_member({"mtime": time}))
    with pytest.raises(InputError, match="has a time that cannot be"):
        read(tmp_path / "x.tar")


def test_a_name_of_gigabytes_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(InputError, match="longer than any real one"):
        read(tmp_path / "x.tar")


def test_an_empty_tar_holds_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.tar\.gz is an empty tar archive\."):
        read(tarball(tmp_path / "x.tar.gz", {}))


def test_a_tar_with_only_a_folder_is_whole(tmp_path: Path) -> None:
    assert read(tarball(tmp_path / "x.tar.gz", {"only": None})) == [("only", "dir", b"")]


def test_gzip_of_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a letter\n" * 1000))
    with pytest.raises(InputError, match="is damaged or cut off"):
        read(tmp_path / "x.gz")


def test_a_tarball_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.tar cannot be read: .*No such file"):
        read(tmp_path / "missing.tar")


@pytest.mark.parametrize(
    ("path", "made", "says"),
    [
        ("../evil", b"x", "its path leads outside"),
        ("a/../../evil", b"x", "its path leads outside"),
        ("/etc/evil", b"x", "its path leads outside"),
        ("pipe", Odd(tarfile.FIFOTYPE), "it is a device, fifo or socket"),
        ("disk", Odd(tarfile.BLKTYPE), "it is a device, fifo or socket"),
        ("null", Odd(tarfile.CHRTYPE), "it is a device, fifo or socket"),
        ("h", HardLink("../../etc/passwd"), "it is a hard link to ../../etc/passwd, outside"),
        ("h", HardLink("/etc/passwd"), "it is a hard link to /etc/passwd, outside"),
        ("l", Link("/etc"), "it is a symbolic link to /etc, outside"),
        ("l", Link(".."), "it is a symbolic link to .., outside"),
        ("a/l", Link("../../x"), "it is a symbolic link to ../../x, outside"),
        ("z", Link("x/y/.."), "it is a symbolic link to x/y/.., outside"),
    ],
)
def test_what_would_be_unsafe_to_unpack_is_told(tmp_path: Path, path: str, made: object, says: str) -> None:
    ((member, _content),) = read_tar(tarball(tmp_path / "x.tar", {path: made}))  # type: ignore[dict-item]
    reason = unsafe(member)
    assert reason is not None
    assert reason.startswith(says)


@pytest.mark.parametrize(
    "member",
    [
        Member("a/b", "file", 0o644),
        Member("a..b/..c", "file", 0o644),
        Member("a/l", "symlink", 0o777, link="../b/c"),
        Member("a/l", "symlink", 0o777, link="./b"),
        Member("a/b/l", "symlink", 0o777, link=".././../x"),
        Member("x/y", "symlink", 0o777, link=".."),
        Member("h", "hardlink", 0o644, link="a/b"),
        Member("d", "dir", 0o755),
    ],
)
def test_ordinary_members_and_links_are_safe(member: Member) -> None:
    assert unsafe(member) is None


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), max_size=6), st.integers(0, 3))
def test_a_link_that_is_safe_stays_inside_whatever_its_names_are(target: list[str], depth: int) -> None:
    """Even when every name on its way were a link to the top itself, `..` never leads out of it."""
    link = Member("/".join("d" * depth) + "/l" if depth else "l", "symlink", 0o777, link="/".join(target))
    if unsafe(link) is None:
        height = depth
        for part in link.link.split("/"):
            height = {"..": height - 1, ".": height, "": height}.get(part, 0)
            assert height >= 0


def directory(top: Path) -> list[tuple[str, str, bytes]]:
    return [
        (member.path, member.kind, content.read() if content else b"")
        for member, content in read_directory(top)
    ]


def test_a_folder_is_given_in_a_fixed_order_and_its_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/x", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "b/up").symlink_to("../a")
    os.mkfifo(tmp_path / "pipe")
    assert directory(tmp_path) == [
        ("a", "dir", b""),
        ("b", "dir", b""),
        ("c", "file", b"c"),
        ("loop", "symlink", b""),
        ("pipe", "special", b""),
        ("a/x", "file", b"a/x"),
        ("b/1", "file", b"b/1"),
        ("b/2", "file", b"b/2"),
        ("b/up", "symlink", b""),
    ]


def test_a_folders_members_have_modes_times_and_targets(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1234")
    (tmp_path / "f").chmod(0o640)
    os.utime(tmp_path / "f", (MTIME, MTIME))
    (tmp_path / "l").symlink_to("f")
    first, second = (member for member, _content in read_directory(tmp_path))
    assert first == Member("f", "file", 0o640, 4, MTIME)
    assert (second.link, second.size) == ("f", 0)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing cannot be read: No such file"):
        directory(tmp_path / "missing")


def copy(members: Callable[[], Iterator[Content]], out: Path) -> Path:
    with write_tar(out) as add:
        for member, content in members():
            add(member, content)
    return out


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz"])
def test_what_is_written_reads_back_the_same(tmp_path: Path, suffix: str) -> None:
    files = {**FILES, "top/h": HardLink("top/a.txt"), "raw-\udcff": b"", "n" * 300: b"long"}
    source = tarball(tmp_path / "in.tar.gz", files)
    out = copy(lambda: read_tar(source), tmp_path / f"out.{suffix}")
    assert read(out) == read(source)
    assert [member for member, _c in read_tar(out)] == [member for member, _c in read_tar(source)]
    assert (out.read_bytes()[:2] == b"\x1f\x8b") == (suffix != "tar")


def test_what_is_written_depends_on_the_members_alone(tmp_path: Path) -> None:
    source = tarball(tmp_path / "in.tar", FILES)
    first = copy(lambda: read_tar(source), tmp_path / "one.tar.gz").read_bytes()
    second = copy(lambda: read_tar(source), tmp_path / "another name.tgz").read_bytes()
    assert first == second
    assert first[3:10] == b"\0" * 5 + first[8:10]  # no flags (no name), no time


def test_gnu_tar_lists_what_is_written(tmp_path: Path) -> None:
    out = copy(lambda: read_tar(tarball(tmp_path / "in.tar", FILES)), tmp_path / "out.tar.gz")
    told = subprocess.run(["tar", "tzf", out], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["top/", "top/a.txt", "top/big", "top/empty", "top/l"]
    assert told.stderr == ""
