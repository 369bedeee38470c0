from __future__ import annotations

import gzip
import hashlib
import os
from itertools import pairwise
from pathlib import Path

import pytest
from builders_oci import file, folder, hardlink, members_of, symlink, tar_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.blob import LAYER_GZIP
from pulsar_arm.formats.compress import BlobWriter
from pulsar_arm.formats.layer import LayerEntry, link_duplicates, write_layer, write_layer_blob

MIXED = (b"a script\n" * 50_000, os.urandom(700_000), b"", b"x" * 1_500_000)


def test_members_are_sorted_with_fixed_times_and_numeric_owners() -> None:
    members = members_of(tar_of([file("b", b"2", 0o755, 10000, 0), folder("a"), file("a/c", b"1")]))
    assert [member.name for member in members] == ["a", "a/c", "b"]
    assert {(member.mtime, member.uname, member.gname) for member in members} == {(0, "", "")}
    assert (members[2].uid, members[2].gid, members[2].mode) == (10000, 0, 0o755)


def test_missing_parents_are_made_and_given_ones_kept() -> None:
    members = members_of(tar_of([file("pulsar/lib/x.jar", b"x"), folder("pulsar", 0o2775, 10000)]))
    assert [(m.name, m.isdir(), oct(m.mode), m.uid) for m in members[:2]] == [
        ("pulsar", True, "0o2775", 10000),
        ("pulsar/lib", True, "0o755", 0),
    ]


def test_the_order_given_does_not_show() -> None:
    entries = [folder("a"), file("a/b", b"1"), symlink("c", "a/b"), hardlink("a/d", "a/b")]
    assert tar_of(entries) == tar_of(entries[::-1])


def test_a_hard_link_stands_behind_its_first_name_and_has_its_mode_and_owner() -> None:
    members = members_of(tar_of([hardlink("a", "z", 0o600), file("b"), file("z", b"content", 0o755, 5, 6)]))
    assert [member.name for member in members] == ["b", "z", "a"]
    assert members[2].islnk()
    assert (members[2].linkname, members[2].mode, members[2].uid, members[2].gid) == ("z", 0o755, 5, 6)


def test_names_may_be_long_or_foreign() -> None:
    names = ["pulsar/" + "n" * 300, "pulsar/ü", "pulsar/" + "d" * 120 + "/" + "e" * 120]
    found = [member.name for member in members_of(tar_of(file(name, b"1") for name in names))]
    assert set(names) <= set(found)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a//b", "./a"])
def test_a_path_outside_the_root_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot hold the path"):
        tar_of([file(path)])


def test_a_path_given_twice_is_refused_unless_it_means_the_same() -> None:
    assert len(members_of(tar_of([folder("a"), folder("a")]))) == 1
    with pytest.raises(InputError, match="a is given twice"):
        tar_of([folder("a"), folder("a", 0o700)])


def test_a_file_below_a_file_is_refused() -> None:
    with pytest.raises(InputError, match="a is no folder"):
        tar_of([file("a"), file("a/b")])


def test_a_hard_link_to_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no file of the same layer"):
        tar_of([hardlink("a", "b")])


def test_content_that_is_gone_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a/b: its content .*gone cannot be read"):
        tar_of([file("a/b", tmp_path / "gone")])


def test_content_is_streamed_from_disk(tmp_path: Path) -> None:
    content = os.urandom(2_500_000)
    (tmp_path / "jar").write_bytes(content)
    assert tar_of([file("a", tmp_path / "jar")]) == tar_of([file("a", content)])
    with pytest.raises(InputError, match=r"its content .* cannot be read"):
        link_duplicates([file("a", tmp_path / "gone")])


def test_content_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        tar_of([file("a", tmp_path)])


def test_content_that_shrinks_meanwhile_is_refused(tmp_path: Path) -> None:
    growing = tmp_path / "log"
    growing.write_bytes(b"x" * 1000)

    class Shrinks(list[bytes]):
        def write(self, piece: bytes) -> None:
            growing.write_bytes(b"")

    with pytest.raises(InputError, match="changed while a was being written"):
        write_layer([file("a", growing)], Shrinks())


def test_equal_files_become_hard_links_of_the_first(tmp_path: Path) -> None:
    on_disk = tmp_path / "x"
    on_disk.write_bytes(b"same")
    entries = [file("c", b"same"), file("a", on_disk), file("b", b"diff")]
    assert link_duplicates(entries) == (hardlink("c", "a"), entries[1], entries[2])


def test_files_of_other_modes_or_owners_and_empty_files_stay_apart() -> None:
    entries = (file("a", b"s"), file("b", b"s", 0o755), file("c", b"s", uid=1), file("d"), file("e"))
    assert link_duplicates(entries) == entries


@pytest.mark.parametrize("fast", [False, True])
def test_a_blob_is_gzip_named_by_its_digest(tmp_path: Path, fast: bool) -> None:
    entries = [file(f"f{number}", content) for number, content in enumerate(MIXED)]
    told: list[int] = []
    blob = write_layer_blob(entries, tmp_path, fast=fast, advance=told.append)
    stored = blob.path.read_bytes()
    tar = tar_of(entries)
    assert gzip.decompress(stored) == tar
    assert blob.path.name == hashlib.sha256(stored).hexdigest() == blob.hex
    assert blob.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert (blob.size, blob.media_type, sum(told)) == (len(stored), LAYER_GZIP, len(tar))
    assert stored[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert [one.name for one in tmp_path.iterdir()] == [blob.path.name]
    with blob.open_tar() as opened:
        assert opened.read() == tar


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 2_500_000), max_size=5))
def test_the_sizes_of_the_writes_do_not_show_in_the_blob(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    content = bytes(range(256)) * 10_000
    edges = [0, *sorted(cuts), len(content)]
    with BlobWriter(tmp_path_factory.mktemp("blobs")) as writer:
        for begin, end in pairwise(edges):
            writer.write(content[begin:end])
        cut = writer.close()
    with BlobWriter(tmp_path_factory.mktemp("blobs")) as writer:
        writer.write(content)
        assert writer.close() == cut


def test_the_digest_of_a_layer_is_the_same_on_every_machine(tmp_path: Path) -> None:
    entries = [file("etc/motd", b"Pulsar on aarch64\n" * 100_000), folder("pulsar", 0o775, 10000)]
    blob = write_layer_blob(entries, tmp_path)
    assert blob.diff_id == DIFF_ID
    assert blob.digest == DIGEST


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write_layer_blob([file("a", b"1"), file("b", tmp_path / "gone")], tmp_path / "blobs")
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot be written"):
        write_layer_blob([], tmp_path / "file" / "blobs")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    with BlobWriter(tmp_path) as writer:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, writer._file.fileno())
        os.close(full)
        with pytest.raises(HostError, match="free some space"):
            writer.write(os.urandom(99 << 20))
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_what_it_was_given() -> None:
    entry = LayerEntry("a", "file", 0o644)
    assert (entry.uid, entry.gid, entry.link, entry.source) == (0, 0, "", None)


DIFF_ID = "sha256:073a3dff1019e23e12d309b37e304eb1fc6c66b9b827284f39bedad3092767b5"
DIGEST = "sha256:1557b243cd136738ef5ca4a2e2d6d1a93f95eea40380794e5df56a22aaabec1d"
